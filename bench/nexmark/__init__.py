"""Three queries of Nexmark, a benchmark of streams of an auction house, on onetape and its peers.

    q5    hot items: the auction with the most bids in the last 10 s, every 2 s
    q7    the highest bid of each 10 s, over all auctions
    q11   how many bids a bidder makes in a session, which a pause of 10 s ends

Run and checked as `bench.peers` is. Bids come at 10 000 a second of event time; half of them go to
an auction that is new and hot. csp has no windows by a key that it is not given apart: q7 alone.
"""

# Millions of events: some seconds for all rounds.
EVENTS = {"onetape": 8.0, "polars": 8.0, "csp": 4.0, "bytewax": 0.5}
