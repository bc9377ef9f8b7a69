"""Reads a table of our values, computes each with confseq or scipy, and compares. See check-confseq."""

import csv
import math
import sys

import numpy
from confseq import betting, boundaries
from scipy.stats import nchypergeom_fisher


def odds(times, probability):
    ratio = times * probability / (1 - probability)
    return ratio / (1 + ratio)


def theirs(function, of, bad, old_of, old_bad, parameter, parameter2):
    if function in ("lower", "upper"):
        bounds = boundaries.bernoulli_confidence_interval(bad, of, parameter, parameter2)
        return bounds[function == "upper"]
    if function == "log_mixture":
        rate, best_at = parameter, parameter2
        variance = rate * (1 - rate)
        return boundaries.beta_binomial_log_mixture(
            bad - of * rate, of * variance, best_at * variance, rate, 1 - rate, is_one_sided=False)
    if function == "log_ratio":
        # A bet of constant size on each answer is the likelihood ratio of one alternative.
        limit, rate = parameter, odds(parameter2, parameter)
        bet = (rate - limit) / (limit * (1 - limit))
        answers = numpy.array([1.0] * bad + [0.0] * (of - bad))
        wealth = betting.betting_mart(
            answers, limit, lambdas_fn_positive=lambda x, m: numpy.repeat(bet, len(x)), theta=1,
            trunc_scale=1, m_trunc=True)
        return math.log(wealth[-1])
    if function == "log_owner":
        def log_pmf(ratio):
            return nchypergeom_fisher.logpmf(bad, of + old_of, of, bad + old_bad, ratio)
        return log_pmf(parameter * parameter2) - log_pmf(parameter)
    raise ValueError(function)


def number(text):
    return 0.0 if text == "" else float(text) if "." in text or "e" in text else int(text)


def main():
    path, write = sys.argv[1], "--write" in sys.argv[2:]
    rows = list(csv.DictReader(sys.stdin))
    keys = [key for key in rows[0] if key != "value"]
    worst = {}
    table = []
    for row in rows:
        value = theirs(row["function"], *(number(row[key]) for key in keys[1:]))
        error = abs(float(row["value"]) - value) / max(1.0, abs(value))
        worst[row["function"]] = max(worst.get(row["function"], 0.0), error)
        table.append([*(row[key] for key in keys), f"{value:.12e}"])
    for function, error in worst.items():
        print(f"{function}: {sum(row[0] == function for row in table)} values, largest difference {error:.1e}")
    if write:
        with open(path, "w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([[*keys, "value"], *table])
    else:
        with open(path, newline="") as file:
            stored = list(csv.reader(file))[1:]
        same = len(stored) == len(table) and all(
            a[:-1] == b[:-1] and abs(float(a[-1]) - float(b[-1])) < 1e-9 * max(1, abs(float(b[-1])))
            for a, b in zip(stored, table))
        if not same:
            sys.exit(f"{path} is not what the packages say: run scripts/check-confseq --write")
    if max(worst.values()) > 1e-6:
        sys.exit("our values differ")


main()
