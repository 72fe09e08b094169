/* The standard pipeline as a C programmer would write it: the yardstick of `bench/itch.py`.
 *
 * ITCH 5.0 messages (two-byte length, big-endian) in frames go in; top of book, trades, VWAP, bars
 * and burst-cancel alerts come out, byte for byte the rows and origins that the compiled Python
 * driver makes. The algorithm is the driver's: a branch-free decoder, orders found by a hash index
 * that grows a little at each insertion and deletes by shifting back, order rows with a free list,
 * sorted levels with the best last in pooled chunks, windows by panes, one timer a key in a heap.
 * The code is what one would write in C: one file, static functions the compiler may inline, rows
 * written in place in the output rings. No allocation: the caller gives one zeroed block.
 *
 *     cc -O3 -march=native -shared -fPIC itch.c
 *     -DROWS_ONLY leaves out the origins (where each row comes from), which a C program might.
 *     -DHINTS     asks for the memory of the next two messages' orders, as the Python driver does.
 */

#include <stdint.h>
#include <string.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef int32_t i32;
typedef int64_t i64;
typedef uint64_t u64;

#define UNSET INT64_MIN
#define NEVER INT64_MAX
#define FAR ((i64)1 << 62)
#define EXPORT __attribute__((visibility("default")))

static inline i64 least(i64 a, i64 b) { return a < b ? a : b; }
static inline i64 most(i64 a, i64 b) { return a > b ? a : b; }

static inline u64 be64(const u8 *p) { u64 v; memcpy(&v, p, 8); return __builtin_bswap64(v); }
static inline u32 be32(const u8 *p) { u32 v; memcpy(&v, p, 4); return __builtin_bswap32(v); }
static inline u16 be16(const u8 *p) { u16 v; memcpy(&v, p, 2); return __builtin_bswap16(v); }

/* --- records: the rows that come out ------------------------------------------------------------ */

enum { ADD = 'A', CANCEL = 'C', MODIFY = 'M', FILL = 'F', TRADE = 'T', OTHER = 'N' };
enum { BID = 'B', ASK = 'A', NO_SIDE = 'N' };
enum { NOT_PRINTABLE = 2, HAS_PRICE = 4, WHOLE = 8, CROSS = 16, LAST = 128 };
enum { OPEN = 1, CLOSED = 2, WARN = 1, RULE_BURST_CANCEL = 1 };

typedef struct {
    i64 ts_event_ns, ts_recv_ns, order_id, other_id, price_ticks, qty_lots, sequence;
    u32 instrument_id;
    u8 action, side, flags, kind;
} Event;

typedef struct {
    i64 ts_event_ns, price_ticks, qty_lots, order_id, match_id, sequence;
    u32 instrument_id;
    u8 side, flags, kind, zero;
    u32 asset_id, reserved;
} Trade;

typedef struct {
    i64 ts_event_ns, bid_price_ticks, ask_price_ticks, bid_qty_lots, ask_qty_lots, sequence;
    u32 instrument_id, flags, asset_id, reserved;
} TopOfBook;

typedef struct {
    i64 ts_event_ns, width_ns, notional_ticklots, qty_lots;
    u32 instrument_id, trades_count, flags, zero;
} Vwap;

typedef struct {
    i64 ts_event_ns, width_ns, open_ticks, high_ticks, low_ticks, close_ticks, qty_lots;
    u32 instrument_id, trades_count, flags, zero;
} Bar;

#define REMEMBERED 16
typedef struct {
    i64 ts_event_ns, alert_id, first_ts_ns, events_count;
    i64 evidence_order_id[REMEMBERED], evidence_sequence[REMEMBERED];
    u32 instrument_id;
    u16 rule;
    u8 state, severity;
    i32 evidence_count;
    u32 flags;
} Alert;

typedef struct {
    i64 tape_offset, sequence, key;
    i32 index;
    u16 node;
    u8 source, root;
} Origin;

/* --- hash index: key -> slot, grows by a few moves at each insertion ------------------------------ */

enum { FIRST_SIZE = 64, MOVED = -1, MOVES_PER_INSERT = 4 };

typedef struct { i64 key, held; } Entry; /* held: slot + 1; 0 free; MOVED: its entry has moved on */

typedef struct {
    i64 size, base, old_size, old_base, cursor, count, limit;
    Entry *entries;
} Index;

static i64 index_entries(i64 limit) {
    i64 entries = FIRST_SIZE, size = FIRST_SIZE;
    while (size < 2 * limit) { size *= 2; entries += size; }
    return entries;
}

static inline i64 home(i64 key, i64 mask) {
    u64 group = (((u64)key >> 2) * 0x9E3779B97F4A7C15u) >> 32;
    return (i64)(group * 4 + ((u64)key & 3)) & mask;
}

static inline Entry *probe(const Index *x, i64 key, i64 base, i64 size) {
    i64 mask = size - 1, at = home(key, mask);
    for (i64 n = 0; n < size; n++) {
        Entry *e = &x->entries[base + at];
        if (e->held == 0) return 0;
        if (e->key == key && e->held > 0) return e;
        at = (at + 1) & mask;
    }
    return 0;
}

static inline i64 find(const Index *x, i64 key) {
    Entry *e = probe(x, key, x->base, x->size);
    if (!e && x->old_size > 0) e = probe(x, key, x->old_base, x->old_size);
    return e ? e->held - 1 : -1;
}

static inline void place(Index *x, i64 key, i64 held) {
    i64 mask = x->size - 1, at = home(key, mask);
    for (;;) {
        Entry *e = &x->entries[x->base + at];
        if (e->held == 0) { e->key = key; e->held = held; return; }
        at = (at + 1) & mask;
    }
}

static void move_some(Index *x) {
    if (x->old_size == 0) return;
    i64 until = least(x->cursor + MOVES_PER_INSERT, x->old_size);
    for (i64 at = x->cursor; at < until; at++) {
        Entry *e = &x->entries[x->old_base + at];
        if (e->held > 0) { place(x, e->key, e->held); e->held = MOVED; }
    }
    x->cursor = until;
    if (until == x->old_size) x->old_size = 0;
}

static inline void insert(Index *x, i64 key, i64 slot) {
    move_some(x);
    if (2 * (x->count + 1) > x->size) {
        while (x->old_size > 0) move_some(x);
        x->old_size = x->size;
        x->old_base = x->base;
        x->base += x->size;
        x->size *= 2;
        x->cursor = 0;
    }
    place(x, key, slot + 1);
    x->count++;
}

static inline void take_out(Index *x, i64 key) {
    Entry *e = probe(x, key, x->base, x->size);
    if (e) {
        i64 mask = x->size - 1;
        Entry *table = x->entries + x->base;
        i64 gap = e - table, at = gap;
        for (i64 n = 0; n < mask; n++) {
            at = (at + 1) & mask;
            if (table[at].held == 0) break;
            if (((at - home(table[at].key, mask)) & mask) >= ((at - gap) & mask)) {
                table[gap] = table[at];
                gap = at;
            }
        }
        table[gap].held = 0;
        x->count--;
        return;
    }
    if (x->old_size > 0 && (e = probe(x, key, x->old_base, x->old_size))) {
        e->held = MOVED;
        x->count--;
    }
}

/* --- timers: one a key, a heap by (wake_ns, key) -------------------------------------------------- */

typedef struct { i64 wake_ns, key, place; } Timer; /* place 0: not set */
typedef struct { Timer *rows; i64 *heap; } Timers; /* heap[0]: timers set; then their slots */

static inline i64 next_wake(const Timers *t) {
    return t->heap[0] == 0 ? NEVER : t->rows[t->heap[1]].wake_ns;
}

static inline int before(const Timers *t, i64 a, i64 b) {
    const Timer *l = &t->rows[a], *r = &t->rows[b];
    return l->wake_ns < r->wake_ns || (l->wake_ns == r->wake_ns && l->key < r->key);
}

static inline void swap(Timers *t, i64 a, i64 b) {
    i64 slot = t->heap[a];
    t->heap[a] = t->heap[b];
    t->heap[b] = slot;
    t->rows[t->heap[a]].place = a;
    t->rows[t->heap[b]].place = b;
}

static void sift_up(Timers *t, i64 place) {
    while (place > 1 && before(t, t->heap[place], t->heap[place / 2])) {
        swap(t, place, place / 2);
        place /= 2;
    }
}

static void sift_down(Timers *t, i64 place) {
    while (2 * place <= t->heap[0]) {
        i64 child = 2 * place;
        if (child < t->heap[0] && before(t, t->heap[child + 1], t->heap[child])) child++;
        if (!before(t, t->heap[child], t->heap[place])) return;
        swap(t, place, child);
        place = child;
    }
}

static void unset_timer(Timers *t, i64 slot) {
    i64 place = t->rows[slot].place, last = t->heap[0];
    if (place == 0) return;
    t->rows[slot].place = 0;
    t->heap[0] = last - 1;
    if (place != last) {
        i64 moved = t->heap[last];
        t->heap[place] = moved;
        t->rows[moved].place = place;
        sift_up(t, place);
        sift_down(t, t->rows[moved].place);
    }
}

static void set_timer(Timers *t, i64 slot, i64 key, i64 wake_ns) {
    Timer *timer = &t->rows[slot];
    timer->wake_ns = wake_ns;
    timer->key = key;
    if (timer->place == 0) {
        timer->place = ++t->heap[0];
        t->heap[timer->place] = slot;
    }
    sift_up(t, timer->place);
    sift_down(t, timer->place);
}

/* --- the program's state --------------------------------------------------------------------------- */

typedef struct { i64 order_id, price_ticks, qty_lots, priority; u32 instrument_id, side; } Order;
typedef struct { i64 price_ticks, qty_lots, orders_count; } Level;
typedef struct { i64 start; i32 count, chunk; } Side; /* chunk: class + 1; 0 none */
typedef struct { i64 bid_price, ask_price, bid_qty, ask_qty, changed_rank; } Top;

enum { FIRST_LEVELS = 16, CLASSES = 14, NEAR = 8, DEPTH_LEVELS = 10 };
#define PRICE_MAX ((i64)1 << 48)
#define QTY_MAX ((i64)1 << 40)
#define NOTIONAL_MAX ((i64)1 << 48)
#define SUM_MAX ((i64)1 << 62)

typedef struct {
    Index index;
    Order *orders;
    Side *sides;
    Level *levels;
    Top *tops;
    i64 levels_limit, instruments_limit;
    i64 used, largest, free_chunks[CLASSES];
    i64 live, rows, free, priority;
    i64 unknown, duplicate, implausible, unpriced, overfill;
} Book;

typedef struct { i64 notional, qty, trades; } VwapSum;
typedef struct { i64 open, high, low, close, qty, trades; } BarSum;

/* Slots of keys, in order of first appearance; small keys are found without hashing. */
enum { DIRECT = 1 << 16 };
typedef struct {
    Index index;
    i64 *direct, *keys;
} Slots;

/* Per-key state of a window: a ring of panes. number: pane + 1 of each cell, 0 never used. */
typedef struct {
    Slots slots;
    Timers timers;
    i64 *numbers;
    void *panes;
    i64 late, ahead;
} Window;

typedef struct {
    i64 wake_ns, seen;
    i64 ts_ns[REMEMBERED], order_id[REMEMBERED], sequence[REMEMBERED];
    i64 events_count, first_ts_ns, instrument_id;
    i64 evidence_order_id[REMEMBERED], evidence_sequence[REMEMBERED];
} Burst;

enum { TOPS, TRADES, VWAPS, BARS, ALERTS, OUTPUTS };
enum { BOOK_NODE = 1, VWAP_NODE = 4, BAR_NODE = 5, BURST_NODE = 6 };

typedef struct { void *rows; Origin *origins; i64 head, tail, size; } Ring;

typedef struct {
    Ring out[OUTPUTS]; /* first: the caller sets rows, origins and size, reads head, sets tail */
    i64 midnight_ns;
    /* where it is in its input */
    i64 frame_at, at, stop, ts_recv_ns, offset, event_index, source, pending, late;
    i64 watermark, next_wake;
    i64 events, frames, ticks, late_events, bad_frames;
    /* the feed */
    i64 next_sequence, messages, refused[16], by_type[256], symbols[65536];
    /* operators */
    Book book;
    Window vwap_1s, vwap_1ms, bar_1s;
    Slots burst_slots;
    Timers burst_timers;
    Burst *bursts;
    Event event;
    i64 root_sequence, root_key;
    i32 made_rows;
    u8 root;
} Program;

enum { DONE = 0, OUT_FULL = 1, AT_CAPACITY = 2 };

/* --- output ----------------------------------------------------------------------------------------- */

static inline void *next_row(Program *p, int output, size_t size) {
    Ring *ring = &p->out[output];
    return (u8 *)ring->rows + (size_t)(ring->head & (ring->size - 1)) * size;
}

static inline void row_done(Program *p, int output, int node) {
    Ring *ring = &p->out[output];
#ifndef ROWS_ONLY
    Origin *g = &ring->origins[ring->head & (ring->size - 1)];
    g->tape_offset = p->offset;
    g->sequence = p->root_sequence;
    g->key = p->root_key;
    g->index = p->made_rows;
    g->node = (u16)node;
    g->source = 0;
    g->root = p->root;
#else
    (void)node;
#endif
    ring->head++;
    p->made_rows++;
}

/* --- price levels ------------------------------------------------------------------------------------ */

static i64 find_level(const Level *levels, i64 count, i64 sign, i64 price) {
    i64 at = count - 1, near = most(count - NEAR, 0), target = sign * price;
    for (; at >= near; at--)
        if (sign * levels[at].price_ticks <= target) return at;
    i64 low = 0, high = near;
    while (low < high) {
        i64 middle = (low + high) / 2;
        if (sign * levels[middle].price_ticks <= target) low = middle + 1;
        else high = middle;
    }
    return low - 1;
}

static int grow(Book *b, Side *s) {
    i64 size_class = s->chunk, start;
    b->largest = most(b->largest, size_class);
    if (size_class >= CLASSES) return 0;
    if (b->free_chunks[size_class] > 0) {
        start = b->free_chunks[size_class] - 1;
        b->free_chunks[size_class] = b->levels[start].price_ticks;
    } else {
        start = b->used;
        b->used += (i64)FIRST_LEVELS << size_class;
    }
    memcpy(&b->levels[start], &b->levels[s->start], (size_t)s->count * sizeof(Level));
    if (s->chunk > 0) {
        b->levels[s->start].price_ticks = b->free_chunks[size_class - 1];
        b->free_chunks[size_class - 1] = s->start + 1;
    }
    s->start = start;
    s->chunk = (i32)size_class + 1;
    return 1;
}

static inline void change_level(Book *b, i64 instrument, i64 side, i64 price, i64 qty, i64 orders) {
    Side *s = &b->sides[2 * instrument + side];
    Level *levels = &b->levels[s->start];
    i64 at = find_level(levels, s->count, 1 - 2 * side, price);
    i64 rank = s->count - 1 - at; /* 0 is the best */
    if (at >= 0 && levels[at].price_ticks == price) {
        Level *level = &levels[at];
        level->qty_lots += qty;
        level->orders_count += orders;
        if (level->orders_count == 0) {
            memmove(level, level + 1, (size_t)(s->count - 1 - at) * sizeof(Level));
            s->count--;
        }
    } else if (qty > 0) {
        if (s->chunk == 0 || s->count == FIRST_LEVELS << (s->chunk - 1)) {
            grow(b, s);
            levels = &b->levels[s->start];
        }
        at++;
        rank = s->count - at;
        memmove(&levels[at + 1], &levels[at], (size_t)(s->count - at) * sizeof(Level));
        levels[at] = (Level){price, qty, orders};
        s->count++;
    }
    Top *top = &b->tops[instrument];
    top->changed_rank = least(top->changed_rank, rank);
}

/* --- orders ------------------------------------------------------------------------------------------- */

static inline i64 take_row(Book *b) {
    b->live++;
    if (b->free > 0) {
        i64 slot = b->free - 1;
        b->free = b->orders[slot].priority;
        return slot;
    }
    return b->rows++;
}

static inline void add_order(Book *b, i64 order_id, i64 instrument, u8 letter, i64 price, i64 qty) {
    if (qty <= 0 || qty > QTY_MAX || price > PRICE_MAX || price < -PRICE_MAX ||
        (letter != BID && letter != ASK)) { b->implausible++; return; }
    if (find(&b->index, order_id) >= 0) { b->duplicate++; return; }
    i64 side = letter == BID ? 0 : 1, slot = take_row(b);
    b->priority++;
    b->orders[slot] = (Order){order_id, price, qty, b->priority, (u32)instrument, (u32)side};
    insert(&b->index, order_id, slot);
    change_level(b, instrument, side, price, qty, 1);
}

static inline void reduce(Book *b, i64 slot, i64 qty) {
    Order *order = &b->orders[slot];
    i64 taken = least(qty, order->qty_lots);
    if (taken <= 0) return;
    i64 left = order->qty_lots - taken;
    order->qty_lots = left;
    change_level(b, order->instrument_id, order->side, order->price_ticks, -taken, left == 0 ? -1 : 0);
    if (left == 0) {
        take_out(&b->index, order->order_id);
        order->priority = b->free;
        b->free = slot + 1;
        b->live--;
    }
}

/* Slot of an order of this instrument, or -1, counted. */
static inline i64 find_order(Book *b, i64 order_id, i64 instrument) {
    i64 slot = find(&b->index, order_id);
    if (slot >= 0 && b->orders[slot].instrument_id == instrument) return slot;
    b->unknown++;
    return -1;
}

static inline void cancel_order(Book *b, i64 order_id, i64 instrument, i64 qty, int flags) {
    i64 slot = find_order(b, order_id, instrument);
    if (slot < 0) return;
    reduce(b, slot, flags & WHOLE ? b->orders[slot].qty_lots : qty);
}

static inline void move_order(Book *b, i64 order_id, i64 instrument, i64 new_id, i64 price,
                              i64 qty) {
    i64 slot = find_order(b, order_id, instrument);
    if (slot < 0) return;
    Order *order = &b->orders[slot];
    u8 letter = order->side == 0 ? BID : ASK;
    reduce(b, slot, order->qty_lots);
    add_order(b, new_id, instrument, letter, price, qty);
}

/* An execution: returns its quantity, 0 where there is no trade; price and side through pointers. */
static inline i64 execute_order(Book *b, const Event *e, i64 *price, u8 *side) {
    if (e->action == TRADE) { *price = e->price_ticks; *side = e->side; return e->qty_lots; }
    i64 slot = find_order(b, e->order_id, e->instrument_id);
    if (slot < 0) {
        *side = NO_SIDE;
        if (e->flags & HAS_PRICE) { *price = e->price_ticks; return e->qty_lots; }
        b->unpriced++;
        *price = UNSET;
        return 0;
    }
    Order *order = &b->orders[slot];
    *price = e->flags & HAS_PRICE ? e->price_ticks : order->price_ticks;
    *side = order->side == 0 ? BID : ASK;
    if (e->qty_lots > order->qty_lots) b->overfill++;
    reduce(b, slot, e->qty_lots);
    return e->qty_lots;
}

static inline void best(const Book *b, i64 instrument, i64 side, i64 *price, i64 *qty) {
    const Side *s = &b->sides[2 * instrument + side];
    if (s->count == 0) { *price = UNSET; *qty = 0; return; }
    const Level *level = &b->levels[s->start + s->count - 1];
    *price = level->price_ticks;
    *qty = level->qty_lots;
}

/* Do sums over such trades stay within 64 bits? */
static inline int is_plausible(i64 price, i64 qty) {
    if (price > PRICE_MAX || price < -PRICE_MAX || qty > QTY_MAX) return 0;
    return price == 0 || qty <= NOTIONAL_MAX / (price < 0 ? -price : price);
}

/* One message to the book; returns the trade it was, or 0. */
static inline const Trade *on_book(Program *p) {
    const Event *e = &p->event;
    Book *b = &p->book;
    i64 instrument = e->instrument_id;
    const Trade *made = 0;
    if (instrument >= b->instruments_limit) { b->unknown++; return 0; }
    Top *was = &b->tops[instrument];
    was->changed_rank = DEPTH_LEVELS;
    i64 price, qty;
    u8 side;
    switch (e->action) {
    case ADD:
        add_order(b, e->order_id, instrument, e->side, e->price_ticks, e->qty_lots);
        break;
    case CANCEL:
        cancel_order(b, e->order_id, instrument, e->qty_lots, e->flags);
        break;
    case MODIFY:
        move_order(b, e->order_id, instrument, e->other_id, e->price_ticks, e->qty_lots);
        break;
    case FILL:
    case TRADE:
        qty = execute_order(b, e, &price, &side);
        if (qty <= 0 || e->flags & (NOT_PRINTABLE | CROSS)) break;
        if (!is_plausible(price, qty)) { b->implausible++; break; }
        Trade *t = next_row(p, TRADES, sizeof(Trade));
        *t = (Trade){e->ts_event_ns, price, qty, e->order_id, e->other_id, e->sequence,
                     (u32)instrument, side, e->flags, e->kind, 0, (u32)instrument, 0};
        made = t;
    }
    if (was->changed_rank == 0) {
        i64 bid_price, bid_qty, ask_price, ask_qty;
        best(b, instrument, 0, &bid_price, &bid_qty);
        best(b, instrument, 1, &ask_price, &ask_qty);
        if (bid_price != was->bid_price || bid_qty != was->bid_qty ||
            ask_price != was->ask_price || ask_qty != was->ask_qty) {
            was->bid_price = bid_price;
            was->bid_qty = bid_qty;
            was->ask_price = ask_price;
            was->ask_qty = ask_qty;
            TopOfBook *top = next_row(p, TOPS, sizeof(TopOfBook));
            *top = (TopOfBook){e->ts_event_ns, bid_price, ask_price, bid_qty, ask_qty,
                               e->sequence, (u32)instrument, 0, (u32)instrument, 0};
            row_done(p, TOPS, BOOK_NODE);
        }
    }
    if (made) row_done(p, TRADES, BOOK_NODE);
    return made;
}

/* --- windows ------------------------------------------------------------------------------------------ */

static inline i64 slot_of(Slots *s, i64 key, int *is_new) {
    *is_new = 0;
    if (0 <= key && key < DIRECT && s->direct[key] > 0) return s->direct[key] - 1;
    i64 slot = find(&s->index, key);
    if (slot < 0) {
        *is_new = 1;
        slot = s->index.count;
        insert(&s->index, key, slot);
        s->keys[slot] = key;
        if (0 <= key && key < DIRECT) s->direct[key] = slot + 1;
    }
    return slot;
}

/* The cell of the event's pane, made ready, or -1 where the event is late or too far ahead. */
static inline i64 pane_cell(Program *p, Window *w, const Trade *t, i64 every, i64 panes, i64 ring,
                            int *fresh) {
    i64 ts = t->ts_event_ns, pane = ts / every, key = t->instrument_id;
    int is_new;
    if (p->late || ts < p->watermark) { w->late++; return -1; }
    i64 slot = slot_of(&w->slots, key, &is_new);
    i64 cell = slot * ring + (pane & (ring - 1)), number = w->numbers[cell];
    *fresh = number != pane + 1;
    if (*fresh) {
        if (number != 0 && number + panes - 1 > p->watermark / every) { w->ahead++; return -1; }
        w->numbers[cell] = pane + 1;
        Timer *timer = &w->timers.rows[slot];
        i64 wake_ns = (pane + 1) * every;
        if (timer->place == 0 || timer->wake_ns > wake_ns)
            set_timer(&w->timers, slot, key, wake_ns);
        p->next_wake = least(p->next_wake, timer->wake_ns);
    }
    return cell;
}

static inline i64 on_vwap(Program *p, Window *w, const Trade *t, i64 every, i64 panes, i64 ring) {
    int fresh;
    i64 cell = pane_cell(p, w, t, every, panes, ring, &fresh);
    if (cell < 0) return 1;
    VwapSum *sum = (VwapSum *)w->panes + cell;
    if (fresh) *sum = (VwapSum){0, 0, 0};
    sum->notional += t->price_ticks * t->qty_lots;
    sum->qty += t->qty_lots;
    sum->trades++;
    return sum->notional <= SUM_MAX;
}

static inline void on_bar(Program *p, Window *w, const Trade *t, i64 every, i64 ring) {
    int fresh;
    i64 cell = pane_cell(p, w, t, every, 1, ring, &fresh);
    if (cell < 0) return;
    BarSum *sum = (BarSum *)w->panes + cell;
    i64 price = t->price_ticks;
    if (fresh) *sum = (BarSum){price, price, price, price, 0, 0};
    sum->high = most(sum->high, price);
    sum->low = least(sum->low, price);
    sum->close = price;
    sum->qty += t->qty_lots;
    sum->trades++;
}

static inline i64 next_end(const i64 *numbers, i64 ring, i64 panes, i64 end_number) {
    i64 earliest = -1;
    for (i64 cell = 0; cell < ring; cell++) {
        i64 pane = numbers[cell] - 1;
        if (pane >= 0 && pane > end_number - panes && (earliest < 0 || pane < earliest)) earliest = pane;
    }
    return earliest < 0 ? -1 : most(end_number, earliest) + 1;
}

/* Take the first timer out; set the one of the key's next window. */
static inline i64 window_due(Window *w, i64 due, i64 every, i64 panes, i64 ring, i64 *key) {
    i64 slot = w->timers.heap[1];
    *key = w->timers.rows[slot].key;
    unset_timer(&w->timers, slot);
    i64 following = next_end(w->numbers + slot * ring, ring, panes, due / every);
    if (following >= 0) set_timer(&w->timers, slot, *key, following * every);
    return slot;
}

static inline void vwap_due(Program *p, Window *w, i64 due, i64 every, i64 panes, i64 ring) {
    i64 key, slot = window_due(w, due, every, panes, ring, &key), last = due / every;
    VwapSum sum = {0, 0, 0};
    for (i64 pane = last - panes; pane < last; pane++) {
        i64 cell = slot * ring + (pane & (ring - 1));
        if (w->numbers[cell] == pane + 1) {
            const VwapSum *part = (const VwapSum *)w->panes + cell;
            sum.notional += part->notional;
            sum.qty += part->qty;
            sum.trades += part->trades;
        }
    }
    p->root_key = key;
    if (sum.trades == 0) return;
    Vwap *v = next_row(p, VWAPS, sizeof(Vwap));
    *v = (Vwap){due, panes * every, sum.notional, sum.qty, (u32)key, (u32)sum.trades};
    row_done(p, VWAPS, VWAP_NODE);
}

static inline void bar_due(Program *p, Window *w, i64 due, i64 every, i64 ring) {
    i64 key, slot = window_due(w, due, every, 1, ring, &key), last = due / every;
    const BarSum *s = (const BarSum *)w->panes + slot * ring + ((last - 1) & (ring - 1));
    p->root_key = key;
    if (s->trades == 0) return;
    Bar *b = next_row(p, BARS, sizeof(Bar));
    *b = (Bar){due, every, s->open, s->high, s->low, s->close, s->qty, (u32)key, (u32)s->trades};
    row_done(p, BARS, BAR_NODE);
}

/* --- burst cancel -------------------------------------------------------------------------------------- */

enum { MORE_THAN = 5 };
#define WITHIN 10000000

static inline u64 mix(u64 x) {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

static void write_alert(Program *p, const Burst *s, i64 now_ns, u8 state) {
    Alert *a = next_row(p, ALERTS, sizeof(Alert));
    i64 count = least(s->events_count, REMEMBERED);
    memset(a, 0, sizeof *a);
    a->ts_event_ns = now_ns;
    a->alert_id = (i64)mix(mix((u64)(s->instrument_id * 65536 + RULE_BURST_CANCEL)) ^
                           (u64)s->evidence_sequence[0]);
    a->first_ts_ns = s->first_ts_ns;
    a->events_count = s->events_count;
    a->instrument_id = (u32)s->instrument_id;
    a->rule = RULE_BURST_CANCEL;
    a->state = state;
    a->severity = WARN;
    a->evidence_count = (i32)count;
    memcpy(a->evidence_order_id, s->evidence_order_id, (size_t)count * 8);
    memcpy(a->evidence_sequence, s->evidence_sequence, (size_t)count * 8);
    row_done(p, ALERTS, BURST_NODE);
}

static inline void on_burst(Program *p) {
    const Event *e = &p->event;
    i64 key = e->instrument_id;
    int is_new;
    i64 slot = slot_of(&p->burst_slots, key, &is_new);
    Burst *s = &p->bursts[slot];
    if (is_new) s->wake_ns = UNSET;
    if (e->action == CANCEL || e->action == MODIFY) {
        i64 at = s->seen % REMEMBERED;
        s->ts_ns[at] = e->ts_event_ns;
        s->order_id[at] = e->order_id;
        s->sequence[at] = e->sequence;
        s->seen++;
        if (s->events_count > 0 && e->ts_event_ns >= s->wake_ns) {
            write_alert(p, s, s->wake_ns, CLOSED);
            s->events_count = 0;
            s->wake_ns = UNSET;
        }
        i64 oldest = (s->seen + REMEMBERED - 1 - MORE_THAN) % REMEMBERED;
        int over = s->seen > MORE_THAN && e->ts_event_ns - s->ts_ns[oldest] <= WITHIN;
        if (over)
            for (i64 i = 0; i <= MORE_THAN; i++) {
                i64 lag_ns = e->ts_event_ns - s->ts_ns[(s->seen - 1 - i) % REMEMBERED];
                over = over && 0 <= lag_ns && lag_ns <= WITHIN;
            }
        if (over) s->wake_ns = e->ts_event_ns + WITHIN;
        if (s->events_count > 0) {
            if (s->events_count < REMEMBERED) {
                s->evidence_order_id[s->events_count] = e->order_id;
                s->evidence_sequence[s->events_count] = e->sequence;
            }
            s->events_count++;
        } else if (over) {
            for (i64 i = 0; i <= MORE_THAN; i++) {
                i64 cell = (s->seen - 1 - MORE_THAN + i) % REMEMBERED;
                s->evidence_order_id[i] = s->order_id[cell];
                s->evidence_sequence[i] = s->sequence[cell];
            }
            s->events_count = MORE_THAN + 1;
            s->first_ts_ns = s->ts_ns[oldest];
            s->instrument_id = e->instrument_id;
            write_alert(p, s, e->ts_event_ns, OPEN);
        }
    }
    Timer *timer = &p->burst_timers.rows[slot];
    if (s->wake_ns == UNSET) {
        unset_timer(&p->burst_timers, slot);
    } else {
        if (timer->place == 0 || timer->wake_ns != s->wake_ns)
            set_timer(&p->burst_timers, slot, key, s->wake_ns);
        p->next_wake = least(p->next_wake, s->wake_ns);
    }
}

static inline void burst_due(Program *p, i64 due) {
    i64 slot = p->burst_timers.heap[1];
    p->root_key = p->burst_timers.rows[slot].key;
    unset_timer(&p->burst_timers, slot);
    Burst *s = &p->bursts[slot];
    s->wake_ns = UNSET;
    write_alert(p, s, due, CLOSED);
    s->events_count = 0;
}

/* --- the feed ------------------------------------------------------------------------------------------- */

enum { UNKNOWN_TYPE, WRONG_LENGTH, TRUNCATED, ZERO_LENGTH, BAD_PACKET, BAD_SESSION,
       TIME_OUT_OF_DAY, BAD_SIDE, PRICE_OUT_OF_RANGE, QTY_OUT_OF_RANGE, BAD_PRINTABLE };

/* What each type means: its length, and where the fields of an event stand in it (0: it has none). */
typedef struct { u8 length, action, flags, order_at, other_at, side_at, qty_at, price_at; } Meaning;

static const Meaning MEANING[256] = {
    ['S'] = {12, OTHER, LAST, 0, 0, 0, 0, 0},   ['R'] = {39, OTHER, LAST, 0, 0, 0, 0, 0},
    ['H'] = {25, OTHER, LAST, 0, 0, 0, 0, 0},   ['Y'] = {20, OTHER, LAST, 0, 0, 0, 0, 0},
    ['L'] = {26, OTHER, LAST, 0, 0, 0, 0, 0},   ['V'] = {35, OTHER, LAST, 0, 0, 0, 0, 0},
    ['W'] = {12, OTHER, LAST, 0, 0, 0, 0, 0},   ['K'] = {28, OTHER, LAST, 0, 0, 0, 0, 0},
    ['J'] = {35, OTHER, LAST, 0, 0, 0, 0, 0},   ['h'] = {21, OTHER, LAST, 0, 0, 0, 0, 0},
    ['B'] = {19, OTHER, LAST, 0, 0, 0, 0, 0},   ['I'] = {50, OTHER, LAST, 0, 0, 0, 0, 0},
    ['N'] = {20, OTHER, LAST, 0, 0, 0, 0, 0},   ['O'] = {48, OTHER, LAST, 0, 0, 0, 0, 0},
    ['A'] = {36, ADD, LAST, 11, 0, 19, 20, 32}, ['F'] = {40, ADD, LAST, 11, 0, 19, 20, 32},
    ['D'] = {19, CANCEL, LAST | WHOLE, 11, 0, 0, 0, 0},
    ['X'] = {23, CANCEL, LAST, 11, 0, 0, 19, 0},
    ['U'] = {35, MODIFY, LAST, 11, 19, 0, 27, 31},
    ['E'] = {31, FILL, LAST, 11, 23, 0, 19, 0},
    ['C'] = {36, FILL, LAST | HAS_PRICE, 11, 23, 0, 19, 32},
    ['P'] = {44, TRADE, LAST, 11, 36, 19, 20, 32},
    ['Q'] = {40, TRADE, LAST | CROSS, 0, 31, 0, 0, 27},
};
static const u8 IS_SIDE[256] = {['B'] = BID, ['S'] = ASK};

#define DAY_NS (86400 * (i64)1000000000)
#define PRICE_MAX_TICKS 2000000000

static inline int refuse(Program *p, int reason) { p->refused[reason]++; return 0; }

static inline int decode(Program *p, const u8 *m, i64 length, i64 sequence) {
    if (length <= 0) return refuse(p, ZERO_LENGTH);
    u8 letter = m[0];
    Meaning of = MEANING[letter];
    if (length != of.length) return refuse(p, of.length == 0 ? UNKNOWN_TYPE : WRONG_LENGTH);
    i64 time_ns = (i64)(be64(m + 3) & 0xFFFFFFFFFFFF);
    if (time_ns >= DAY_NS) return refuse(p, TIME_OUT_OF_DAY);

    /* An offset of 0 loads from the header, which every message has, and is then replaced. */
    i64 order_id = (i64)be64(m + of.order_at), other_id = (i64)be64(m + of.other_at);
    i64 qty = be32(m + of.qty_at), price = be32(m + of.price_at);
    u8 side = IS_SIDE[m[of.side_at]];
    order_id = of.order_at ? order_id : 0;
    other_id = of.other_at ? other_id : 0;
    qty = of.qty_at ? qty : UNSET;
    side = of.side_at ? side : NO_SIDE;
    if (of.price_at && price > PRICE_MAX_TICKS) return refuse(p, PRICE_OUT_OF_RANGE);
    price = of.price_at ? price : UNSET;
    if (side == 0) return refuse(p, BAD_SIDE);
    u8 flags = of.flags;
    if (letter == 'Q' || letter == 'C' || letter == 'R') {
        if (letter == 'Q') {
            qty = (i64)be64(m + 11);
            if (qty < 0) return refuse(p, QTY_OUT_OF_RANGE);
        } else if (letter == 'C') {
            if (m[31] == 'N') flags |= NOT_PRINTABLE;
            else if (m[31] != 'Y') return refuse(p, BAD_PRINTABLE);
        } else {
            p->symbols[be16(m + 1)] = (i64)be64(m + 11);
        }
    }
    p->event = (Event){p->midnight_ns + time_ns, p->ts_recv_ns, order_id, other_id, price, qty,
                       sequence, be16(m + 1), of.action, side, flags, letter};
    p->messages++;
    p->by_type[letter]++;
    return 1;
}

/* Read the message at p->at; 1 when it became an event. */
static inline int next_message(Program *p, const u8 *buffer) {
    i64 sequence = p->next_sequence++, body = p->at + 2, end = p->stop;
    if (body >= end) { p->at = end; return refuse(p, TRUNCATED); }
    i64 length = be16(buffer + p->at);
    if (length == 0) {
        length = MEANING[buffer[body]].length;
        if (length == 0) { p->at = end; return refuse(p, UNKNOWN_TYPE); }
    }
    if (body + length > end) { p->at = end; return refuse(p, TRUNCATED); }
    p->at = body + length;
    return decode(p, buffer + body, length, sequence);
}

/* --- the driver ----------------------------------------------------------------------------------------- */

enum { DATA = 1, TICK = 2, END = 5, PAD = 7, HEADER_BYTES = 32 };

static inline i64 earliest(const Program *p) {
    return least(least(next_wake(&p->vwap_1s.timers), next_wake(&p->vwap_1ms.timers)),
                 least(next_wake(&p->bar_1s.timers), next_wake(&p->burst_timers)));
}

/* Fire the earliest timer; among equal times the operator that comes first. */
static void fire(Program *p) {
    i64 due = earliest(p);
    p->next_wake = due;
    if (due > p->watermark) return;
    p->root = 1;
    p->root_sequence = due;
    if (next_wake(&p->vwap_1s.timers) == due) vwap_due(p, &p->vwap_1s, due, 100000000, 10, 16);
    else if (next_wake(&p->vwap_1ms.timers) == due) vwap_due(p, &p->vwap_1ms, due, 1000000, 1, 4);
    else if (next_wake(&p->bar_1s.timers) == due) bar_due(p, &p->bar_1s, due, 1000000000, 4);
    else burst_due(p, due);
    p->next_wake = earliest(p);
}

/* How many events and timers surely find room for all they can cause. */
static i64 budget_of(const Program *p, int *status) {
    i64 budget = 1 << 20;
    const Book *b = &p->book;
    *status = DONE;
    for (int k = 0; k < OUTPUTS; k++) {
        i64 room = (p->out[k].size - (p->out[k].head - p->out[k].tail)) / (k == ALERTS ? 2 : 1);
        if (room < budget) { budget = room; *status = OUT_FULL; }
    }
    i64 rooms[] = {
        b->index.limit - b->index.count,
        (b->levels_limit - b->used) / (FIRST_LEVELS << (b->largest + 2)),
        p->vwap_1s.slots.index.limit - p->vwap_1s.slots.index.count,
        p->vwap_1ms.slots.index.limit - p->vwap_1ms.slots.index.count,
        p->bar_1s.slots.index.limit - p->bar_1s.slots.index.count,
        p->burst_slots.index.limit - p->burst_slots.index.count,
    };
    for (unsigned i = 0; i < sizeof rooms / sizeof *rooms; i++)
        if (rooms[i] < budget) { budget = rooms[i]; *status = AT_CAPACITY; }
    if (budget > 0) *status = DONE;
    return budget;
}

#ifdef HINTS
/* The order of the next message, whose index entry is here by now, and the entry of the one behind. */
static inline void look_ahead(Program *p, const u8 *buffer) {
    i64 next = p->at;
    if (next + 21 > p->stop) return;
    i64 later = next + 2 + be16(buffer + next);
    const Index *x = &p->book.index;
    if (later + 21 <= p->stop)
        __builtin_prefetch(&x->entries[x->base + home((i64)be64(buffer + later + 13), x->size - 1)]);
    i64 slot = find(x, (i64)be64(buffer + next + 13));
    if (slot >= 0) __builtin_prefetch(&p->book.orders[slot]);
}
#endif

/* Run the frames in buffer[p->frame_at : end]. DONE, or OUT_FULL: drain the rings, call again. */
EXPORT int itch_turn(Program *p, const u8 *buffer, i64 end) {
    i64 budget = 0;
    int status = DONE;
    for (;;) {
        if (p->next_wake <= p->watermark || p->pending) {
            if (budget == 0 && (budget = budget_of(p, &status)) == 0) return status;
            budget--;
            p->made_rows = 0;
            if (p->next_wake <= p->watermark) { fire(p); continue; }
            p->root = 0;
            p->root_sequence = p->event.sequence;
            p->root_key = 0;
            const Trade *trade = on_book(p);
            if (trade) {
                i64 fits = on_vwap(p, &p->vwap_1s, trade, 100000000, 10, 16);
                fits &= on_vwap(p, &p->vwap_1ms, trade, 1000000, 1, 4);
                if (!fits) return AT_CAPACITY;
                on_bar(p, &p->bar_1s, trade, 1000000000, 4);
            }
            on_burst(p);
            p->pending = 0;
            continue;
        }
        if (p->at < p->stop) {
            if (!next_message(p, buffer)) continue;
#ifdef HINTS
            look_ahead(p, buffer);
#endif
            i64 ts = p->event.ts_event_ns;
            p->late = ts < p->watermark;
            p->late_events += p->late;
            if (ts > p->watermark) p->watermark = ts;
            p->pending = 1;
            p->events++;
            p->event_index++;
            continue;
        }
        if (p->frame_at >= end) return DONE;
        const u8 *header = buffer + p->frame_at;
        u32 length;
        u16 source, kind;
        memcpy(&length, header, 4);
        memcpy(&p->offset, header + 8, 8);
        memcpy(&p->ts_recv_ns, header + 16, 8);
        memcpy(&source, header + 24, 2);
        memcpy(&kind, header + 26, 2);
        i64 payload = p->frame_at + HEADER_BYTES;
        p->frame_at += HEADER_BYTES + (((i64)length + 7) & ~(i64)7);
        p->event_index = -1;
        if (kind == PAD) continue;
        p->frames++;
        if (source != 0) {
            p->bad_frames += kind == DATA;
        } else if (kind == DATA) {
            p->at = payload;
            p->stop = payload + length;
        } else if (kind == TICK) {
            p->ticks++;
            p->watermark = most(p->watermark, p->ts_recv_ns - 1000000000);
        } else if (kind == END) {
            p->watermark = FAR;
        }
    }
}

/* --- memory: one zeroed block, handed in ------------------------------------------------------------------ */

typedef struct { i64 orders, instruments, levels, keys; } Capacity;

static void *carve(u8 **at, i64 count, size_t size) {
    void *found = *at;
    *at += ((size_t)count * size + 63) & ~(size_t)63;
    return found;
}

static void lay_out_index(Index *x, u8 **at, i64 limit) {
    x->size = FIRST_SIZE;
    x->limit = limit;
    x->entries = carve(at, index_entries(limit), sizeof(Entry));
}

static void lay_out_slots(Slots *s, u8 **at, i64 limit) {
    lay_out_index(&s->index, at, limit);
    s->direct = carve(at, DIRECT, 8);
    s->keys = carve(at, limit, 8);
}

static void lay_out_timers(Timers *t, u8 **at, i64 keys) {
    t->rows = carve(at, keys, sizeof(Timer));
    t->heap = carve(at, keys + 1, 8);
}

static void lay_out_window(Window *w, u8 **at, i64 keys, i64 ring, size_t pane) {
    lay_out_slots(&w->slots, at, keys);
    lay_out_timers(&w->timers, at, keys);
    w->numbers = carve(at, keys * ring, 8);
    w->panes = carve(at, keys * ring, pane);
}

static void lay_out(Program *p, u8 **at, const Capacity *c) {
    Book *b = &p->book;
    b->levels_limit = c->levels;
    b->instruments_limit = c->instruments;
    lay_out_index(&b->index, at, c->orders);
    b->orders = carve(at, c->orders, sizeof(Order));
    b->sides = carve(at, 2 * c->instruments, sizeof(Side));
    b->levels = carve(at, c->levels, sizeof(Level));
    b->tops = carve(at, c->instruments, sizeof(Top));
    lay_out_window(&p->vwap_1s, at, c->keys, 16, sizeof(VwapSum));
    lay_out_window(&p->vwap_1ms, at, c->keys, 4, sizeof(VwapSum));
    lay_out_window(&p->bar_1s, at, c->keys, 4, sizeof(BarSum));
    lay_out_slots(&p->burst_slots, at, c->keys);
    lay_out_timers(&p->burst_timers, at, c->keys);
    p->bursts = carve(at, c->keys, sizeof(Burst));
}

/* Bytes of the block that `itch_open` needs. */
EXPORT i64 itch_bytes(const Capacity *c) {
    static Program scratch;
    u8 *at = 0;
    carve(&at, 1, sizeof(Program));
    lay_out(&scratch, &at, c);
    return (i64)(at - (u8 *)0);
}

/* Make a program in a zeroed block, 64-byte aligned; it begins with the rings. */
EXPORT void itch_open(u8 *block, const Capacity *c, i64 midnight_ns) {
    u8 *at = block;
    Program *p = carve(&at, 1, sizeof(Program));
    lay_out(p, &at, c);
    p->midnight_ns = midnight_ns;
    p->watermark = UNSET;
    p->next_wake = NEVER;
    p->next_sequence = 1;
    p->source = 0;
}

/* Begin reading at this byte of the next buffer. */
EXPORT void itch_begin(Program *p, i64 begin) { p->frame_at = begin; }

/* What it has counted: events, late events, frames, unknown orders, live orders, late, ahead. */
EXPORT void itch_counts(const Program *p, i64 counts[7]) {
    counts[0] = p->events;
    counts[1] = p->late_events;
    counts[2] = p->frames;
    counts[3] = p->book.unknown;
    counts[4] = p->book.live;
    counts[5] = p->vwap_1s.late + p->vwap_1ms.late + p->bar_1s.late;
    counts[6] = p->vwap_1s.ahead + p->vwap_1ms.ahead + p->bar_1s.ahead;
}
