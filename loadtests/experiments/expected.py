"""The figures of STATISTICS §3.2, §3.3 and §4, by table, setting and method."""

from __future__ import annotations

from collections.abc import Mapping

Figures = Mapping[tuple[str, str], float]

A, A_BARE = "(A)", "(A) without the least events"
B, CLOSED = "(B)", "Dirichlet, closed form"
ONCE, PEEKING = "z-test, once at the end", "z-test at every look"
UNITS = "median units"

PEEKED: Figures = {
    ("10 %, half and half", ONCE): 0.051,
    ("10 %, half and half", PEEKING): 0.426,
    ("10 %, half and half", A_BARE): 0.028,
    ("10 %, half and half", A): 0.028,
    ("10 %, half and half", CLOSED): 0.033,
    ("10 %, half and half", B): 0.013,
    ("10 %, canary of 5 %", ONCE): 0.057,
    ("10 %, canary of 5 %", PEEKING): 0.362,
    ("10 %, canary of 5 %", A_BARE): 0.045,
    ("10 %, canary of 5 %", A): 0.029,
    ("10 %, canary of 5 %", CLOSED): 0.029,
    ("0.5 %, half and half", ONCE): 0.050,
    ("0.5 %, half and half", PEEKING): 0.376,
    ("0.5 %, half and half", A_BARE): 0.019,
    ("0.5 %, half and half", A): 0.013,
    ("0.5 %, half and half", CLOSED): 0.008,
    ("0.5 %, canary of 5 %", ONCE): 0.066,
    ("0.5 %, canary of 5 %", PEEKING): 0.668,
    ("0.5 %, canary of 5 %", A_BARE): 0.558,
    ("0.5 %, canary of 5 %", A): 0.0,
    ("0.5 %, canary of 5 %", CLOSED): 0.010,
    ("lognormal, sigma 1", ONCE): 0.052,
    ("lognormal, sigma 1", PEEKING): 0.373,
    ("lognormal, sigma 1", A): 0.022,
    ("zero-inflated revenue", ONCE): 0.048,
    ("zero-inflated revenue", PEEKING): 0.280,
    ("zero-inflated revenue", A): 0.010,
    ("2 %, canary of 2 %", A_BARE): 0.548,
    ("2 %, canary of 2 %", A): 0.0,
    ("10 %, canary of 10 %", A_BARE): 0.052,
    ("10 %, canary of 10 %", A): 0.029,
    ("50 %, half and half", A_BARE): 0.029,
    ("50 %, half and half", A): 0.029,
    ("3 arms, 2 metrics, alpha .05 / 4", A): 0.011,
}
#: The largest where it gives a range.
INTERVALS: Figures = {
    ("10 % and 12 %, half and half", PEEKING): 0.39,
    ("10 % and 12 %, half and half", A): 0.027,
    ("10 % and 12 %, half and half", B): 0.027,
}
POWER: Figures = {
    ("10 % and 12 %", "z-test, 80 % at"): 7_700,
    ("10 % and 12 %", "(A), planned 5,000"): 7_200,
    ("10 % and 12 %", "(A), planned 20,000"): 8_200,
    ("10 % and 12 %", CLOSED): 8_200,
    ("10 % and 12 %", B): 10_000,
    ("10 % and 11 %", "(A), planned 5,000"): 31_000,
    ("10 % and 11 %", "(A), planned 20,000"): 28_500,
    ("10 % and 11 %", CLOSED): 35_000,
    ("0.5 % and 1.5 %, canary of 5 %", A_BARE): 24_400,
    ("0.5 % and 1.5 %, canary of 5 %", CLOSED): 16_600,
    ("0.5 % and 1.5 %, canary of 5 %", B): 16_800,
    ("0.5 % and 1.5 %, canary of 5 %", "(D), one-sided"): 11_000,
}
BY_REQUEST, BY_BUCKET = "by request", "by user, 256 buckets"
USERS: Figures = {
    (BY_REQUEST, ONCE): 0.447,
    (BY_REQUEST, PEEKING): 0.837,
    (BY_REQUEST, A): 0.443,
    (BY_BUCKET, ONCE): 0.043,
    (BY_BUCKET, PEEKING): 0.233,
    (BY_BUCKET, A): 0.020,
}
POOLED = "(A), pooled over epochs"
ONE_STEP, RAMP, LIFTED = "5 % to 50 %", "1, 5, 10, 25, 50 %", "1, 5, 10, 25, 50 %, +15 %"
RAMPS: Figures = {
    (ONE_STEP, POOLED): 0.976,
    (ONE_STEP, A): 0.030,
    (ONE_STEP, CLOSED): 0.027,
    (RAMP, POOLED): 0.964,
    (RAMP, A): 0.021,
    (RAMP, CLOSED): 0.034,
    (RAMP, B): 0.021,
    (LIFTED, f"{A}, found"): 1.0,
    (LIFTED, f"{A}, {UNITS}"): 34_000,
    (LIFTED, f"{CLOSED}, found"): 0.933,
    (LIFTED, f"{CLOSED}, {UNITS}"): 48_000,
    (LIFTED, f"{B}, found"): 0.998,
    (LIFTED, f"{B}, {UNITS}"): 36_400,
    (LIFTED, f"{B}, interval misses it"): 0.027,
}
C = "(C)"
RIGHT = "10 % as weighted"
SPLIT: Figures = {
    (RIGHT, "chi² p < .05"): 0.406,
    (RIGHT, "chi² p < .01"): 0.126,
    (RIGHT, "chi² p < .001"): 0.018,
    (RIGHT, "chi² p < .0005"): 0.013,
    (RIGHT, f"{C} of strength 100"): 0.007,
    (RIGHT, C): 0.006,
    (RIGHT, f"{C} of strength 10,000"): 0.0025,
    ("10.5 % in place of 10 %", f"{C}, found"): 0.94,
    ("10.5 % in place of 10 %", f"{C}, {UNITS}"): 43_000,
    ("11 % in place of 10 %", f"{C}, {UNITS}"): 11_000,
    ("12 % in place of 10 %", f"{C}, {UNITS}"): 3_500,
}
ROLLED_BACK, REQUESTS = "rolled back", "median requests"
CANARY_REQUESTS, CANARY_ERRORS = "of them the canary's", "errors of the canary"
FLAGGER, FLAGGER_TEN = "fixed thresholds", "fixed thresholds, within 10,000"
HALF_PERCENT, TWO_PERCENT = "0.5 % fail", "2 % fail"


def _caught(base: str, risk: str, *figures: float) -> dict[tuple[str, str], float]:
    names = (ROLLED_BACK, REQUESTS, CANARY_REQUESTS, CANARY_ERRORS)
    return {(f"{base}, {risk}", name): figure for name, figure in zip(names, figures, strict=False)}


CANARIES: Figures = {
    **_caught(HALF_PERCENT, "healthy", 0.003),
    **_caught(HALF_PERCENT, "2 times as often", 0.53),
    **_caught(HALF_PERCENT, "4 times as often", 1.0, 9_120, 450, 10),
    **_caught(HALF_PERCENT, "10 times as often", 1.0, 1_700, 85, 5),
    **_caught(HALF_PERCENT, "40 times as often", 1.0, 320, 16, 3),
    **_caught(HALF_PERCENT, "every request", 1.0, 60, 3, 3),
    **_caught(TWO_PERCENT, "2 times as often", 0.998, 15_840),
    **_caught(TWO_PERCENT, "4 times as often", 1.0, 2_240),
    **_caught(TWO_PERCENT, "10 times as often", 1.0, 460),
    (f"{HALF_PERCENT}, healthy", FLAGGER): 1.0,
    (f"{HALF_PERCENT}, healthy", FLAGGER_TEN): 0.05,
    (f"{TWO_PERCENT}, healthy", FLAGGER_TEN): 0.89,
}
RETRYING = "2 % of users fail, 8 times each"
EACH_ONCE, EVERY_ERROR = "(D), each unit once", "(D), every error"
RETRIES: Figures = {(RETRYING, EACH_ONCE): 0.003, (RETRYING, EVERY_ERROR): 0.196}
FLOORS = {0.05: "Thompson, floor .05", 0.01: "Thompson, floor .01"}
BANDIT: Figures = {
    (FLOORS[0.05], ONCE): 0.10,
    (FLOORS[0.05], POOLED): 0.05,
    (FLOORS[0.05], B): 0.022,
    (FLOORS[0.05], "bias of the arm that got less"): -0.005,
    (FLOORS[0.01], B): 0.029,
}
LABELS = "median labels"
ONE_BETTER, NONE_BETTER = "90 % and 91 %, 5 % differ", "90 % both, 5 % differ"
PAIRED, UNPAIRED = "(A), paired", "(A), a label for one branch"
PAIRED_Z, UNPAIRED_Z = "z-test, paired, 3,912 labels", "z-test, 26,952 labels"
PAIRS: Figures = {
    (ONE_BETTER, PAIRED_Z): 0.80,
    (ONE_BETTER, UNPAIRED_Z): 0.80,
    (ONE_BETTER, "unpaired by paired"): 6.9,
}
