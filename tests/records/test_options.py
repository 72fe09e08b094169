"""An option that a source or a sink does not have names the nearest one, and where it stands."""

import pytest

import onetape as ot
from onetape.records import DeclarationError

CALLS = [
    (lambda: ot.source("itch", patiense="1s"), "ot.source has no option 'patiense'; did you mean"),
    (lambda: ot.source("itch", patiense="1s"), "'patience'? It has address, name, lateness, idle"),
    (lambda: ot.source(ot.market.Trade, idel="1s"), "did you mean 'idle'?"),
    (lambda: ot.udp(adress="127.0.0.1:9000"), "ot.udp has no option 'adress'; did you mean 'add"),
    (lambda: ot.parquet(folde="out/"), "ot.parquet has no option 'folde'; did you mean 'folder'?"),
    (lambda: ot.webhook(link="http://x"), "ot.webhook has no option 'link'; It has url"),
]


@pytest.mark.parametrize(("call", "said"), CALLS)
def test_a_misspelt_option_is_named_with_the_nearest(call, said):
    with pytest.raises(DeclarationError) as why:
        call()

    assert said in str(why.value)
    assert str(why.value).startswith(f"{__file__}:")


def test_an_option_that_there_is_is_taken():
    assert ot.udp(address="localhost:9000").address == "localhost:9000"
