"""What of FIX 4.4 is read: the tags that matter here, their slots, and fields of raw data.

Source: FIX 4.4 with errata, volumes 1 and 2; ExecType and the rest by their tags in the dictionary.
"""

import numpy as np

MESSAGE_BYTES_MAX = 1 << 13  # a longer one is refused: a report has a few hundred
TAG_MAX = 99_999
SOH = 1

# Tags that are read, in the order of their slots.
TAGS = {
    "MsgType": 35,
    "SenderCompID": 49,
    "TargetCompID": 56,
    "MsgSeqNum": 34,
    "SendingTime": 52,
    "PossDupFlag": 43,
    "GapFillFlag": 123,
    "NewSeqNo": 36,
    "ResetSeqNumFlag": 141,
    "OrderID": 37,
    "ExecType": 150,
    "Account": 1,
    "Symbol": 55,
    "Side": 54,
    "OrderQty": 38,
    "Price": 44,
    "LastQty": 32,
    "LastPx": 31,
    "CumQty": 14,
    "LeavesQty": 151,
    "TransactTime": 60,
    "SecondaryExecID": 527,
}
(
    MSG_TYPE,
    SENDER,
    TARGET,
    SEQUENCE,
    SENDING_TIME,
    POSS_DUP,
    GAP_FILL,
    NEW_SEQUENCE,
    RESET,
    ORDER_ID,
    EXEC_TYPE,
    ACCOUNT,
    SYMBOL,
    SIDE,
    ORDER_QTY,
    PRICE,
    LAST_QTY,
    LAST_PX,
    CUM_QTY,
    LEAVES_QTY,
    TRANSACT_TIME,
    MATCH,
) = range(len(TAGS))
SPOT_BYTES = 16  # a slot's memory: where its value begins and ends

# Lengths of raw data: the field behind has so many bytes, SOH among them perhaps.
DATA_OF = {
    90: 91, 93: 89, 95: 96, 212: 213, 348: 349, 350: 351, 352: 353, 354: 355, 356: 357,
    358: 359, 360: 361, 362: 363, 364: 365, 445: 446, 618: 619, 621: 622,
}  # fmt: skip

KNOWN_TAGS = 1024
SLOT_OF = np.full(KNOWN_TAGS, -1, np.int64)
SLOT_OF[list(TAGS.values())] = np.arange(len(TAGS))
DATA_BEHIND = np.zeros(KNOWN_TAGS, np.int64)
DATA_BEHIND[list(DATA_OF)] = list(DATA_OF.values())
