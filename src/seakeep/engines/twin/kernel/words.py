"""The numbers that stand for words in the tables."""

KINDS = 64
"""More than there are kinds of events."""
ROW_BITS = 28
"""Of a row's number."""
(
    WORKED,
    ARRIVE,
    SPAN_TIMER,
    TRY_TIMER,
    # Of spans:
    AT_EDGE,
    AT_CLIENT,
    CALL,
    CLIENT_FAILED,
    CALLED,
    # Of tries:
    ACROSS,
    BACK,
    RETRY,
    UNREACHABLE,
    HELD_LONG,
    QUEUED_LONG,
    NODE_WORKED,
    UNEJECT,
    IMPATIENT,
    PAUSE,
    RESUME,
    RELEASE,
    STEP,
    # Of sessions:
    THOUGHT,
    PAGE,
    RESOURCES,
    # Orders:
    START,
    CHANGE_RATE,
    PROCESS,
    REMOVED,
    EDGE,
    CAPACITY,
) = range(31)

# How a request or a try ended.
(
    OK,
    ERROR,
    UNAVAILABLE,
    FULL,
    REFUSED,
    RESET,
    TRY_LATE,
    LATE,
    LIMITED,
    SHED_AWAY,
    OVERFLOW,
    NOBODY,
    GONE,
    UNRESOLVED,
) = range(14)

# What that means to whoever counts.
WELL, FAILED, REJECTED, TIMED_OUT = range(4)
MEANING = (
    WELL,
    FAILED,
    FAILED,
    REJECTED,
    FAILED,
    FAILED,
    TIMED_OUT,
    TIMED_OUT,
    REJECTED,
    REJECTED,
    REJECTED,
    FAILED,
    TIMED_OUT,
    FAILED,
)

# Spans: whose they are, and where they stand.
CLIENT, CALLER, GATEWAY = range(3)
COMING, INSIDE, ANSWERED, LOST = range(4)

# Tries.
TRAVELLING, QUEUED, WORKING, CALLING, REMOTE, HANGING, HELD, ZOMBIE = range(8)

# Processes, in the order of `world.Process`.
STARTING, SERVING, FROZEN, DEAD, DARK = range(5)

# Checks of an endpoint.
UNCHECKED, PASSING, FAILING = range(3)

# Policies, in the order of `model.system.BalancePolicy`.
ROUND_ROBIN, LEAST_REQUEST, RANDOM, RING_HASH, MAGLEV, LOAD_AWARE = range(6)

# Shapes, in the order of `model.traffic.Shape`.
POISSON, CONSTANT, DIURNAL, STEPS, LOG = range(5)
