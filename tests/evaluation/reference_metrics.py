"""Slow twins of the metrics, which read like docs/metrics.md: plain Python on lists, sets and dicts."""

import math


def rating_metrics(pairs):
    """pairs: (prediction, rating)."""
    errors = [prediction - rating for prediction, rating in pairs]
    ratings = [rating for _, rating in pairs]
    mean = math.fsum(ratings) / len(ratings)
    return {
        "rmse": math.sqrt(math.fsum(e * e for e in errors) / len(errors)),
        "mae": math.fsum(abs(e) for e in errors) / len(errors),
        "bias": math.fsum(errors) / len(errors),
        "r2": 1 - math.fsum(e * e for e in errors) / math.fsum((rating - mean) ** 2 for rating in ratings),
    }


def ranked_list(scores, seen):
    """Candidates, best first; of equal scores the lower item."""
    candidates = [item for item, score in enumerate(scores) if item not in seen and score > -math.inf]
    return sorted(candidates, key=lambda item: (-scores[item], item))


def top_n(scores, n, seen):
    chosen = [ranked_list(row, seen_items)[:n] for row, seen_items in zip(scores, seen, strict=True)]
    items = [(found + [-1] * n)[:n] for found in chosen]
    best = [
        [row[item] if item >= 0 else -math.inf for item in found]
        for row, found in zip(scores, items, strict=True)
    ]
    return items, best


def ranking_metrics(scores, seen, relevant, k):
    """The metrics of one user. relevant: a set that may hold items without a score (unknown to the model)."""
    ranking = ranked_list(scores, seen)
    hits = [rank for rank, item in enumerate(ranking[:k], start=1) if item in relevant]
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(len(relevant), k) + 1))
    return {
        "precision": len(hits) / k,
        "recall": len(hits) / len(relevant),
        "capped_recall": len(hits) / min(len(relevant), k),
        "ndcg": sum(1 / math.log2(rank + 1) for rank in hits) / ideal,
        "map": sum(sum(other <= rank for other in hits) / rank for rank in hits) / min(len(relevant), k),
        "mrr": 1 / hits[0] if hits else 0.0,
        "hit_rate": float(len(hits) > 0),
    }


def auc(scores, seen, relevant):
    ranking = ranked_list(scores, seen)
    pairs = [
        (scores[good], scores[bad])
        for good in ranking
        if good in relevant
        for bad in ranking
        if bad not in relevant
    ]
    return sum((good > bad) + (good == bad) / 2 for good, bad in pairs) / len(pairs) if pairs else math.nan
