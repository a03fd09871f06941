"""Two or more trees of results side by side: a variant against a reference."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tables.documents import Document, Table
from tables.protocol import changed_fields
from tables.results import Cell, Result, gather, order_of
from tables.statistics import (
    MEASUREMENT_ONLY,
    Difference,
    difference,
    in_errors,
    mean_and_deviation,
    p_value,
    signed,
)

_NOTES = (
    "Test NLL in nats: mean ± standard deviation over seeds. Differences: variant - reference; "
    "p of Welch's t-test.",
    f"'{MEASUREMENT_ONLY}': with one seed on either side the error is that of log Z and importance "
    "sampling; it says nothing of how other seeds would differ.",
)


class Pair(NamedTuple):
    """A cell of the reference and its counterpart.

    Attributes:
      gap: variant - reference, or None when they were not measured alike.
      changes: how the variant's protocol differs, a line for each field.
    """

    reference: Cell
    variant: Cell
    gap: Difference | None
    changes: tuple[str, ...]


def _changes(reference: Cell, variant: Cell) -> list[str]:
    changes = changed_fields(variant.protocol, reference.protocol)
    for name in ("sampler", "prior"):
        old, new = getattr(reference.setting, name), getattr(variant.setting, name)
        changes += [f"{name}: {new}, not {old}"] if new != old else []
    return changes


def pair_up(references: Sequence[Cell], variants: Sequence[Cell]) -> list[Pair]:
    """Pairs each variant with the reference of its setting whose protocol is the nearest.

    Sampler and prior may differ like any setting of training; data set, struct, k and baseline not.
    """
    pairs = []
    for variant in variants:
        same = [r for r in references if r.setting[:4] == variant.setting[:4]]
        if not same:
            continue
        nearest = min(same, key=lambda reference: _distance(reference, variant))
        gap = None
        if nearest.protocol.measurement == variant.protocol.measurement:
            gap = difference(variant.sample, nearest.sample)
        pairs.append(Pair(nearest, variant, gap, tuple(_changes(nearest, variant))))
    return sorted(pairs, key=lambda pair: order_of(pair.variant.setting))


def _distance(reference: Cell, variant: Cell) -> tuple:
    measured_alike = reference.protocol.measurement == variant.protocol.measurement
    return not measured_alike, len(_changes(reference, variant))


def _row(pair: Pair) -> tuple[str, ...]:
    setting, gap = pair.variant.setting, pair.gap
    row = [setting.dataset, setting.struct, str(setting.k), setting.baseline]
    row += [mean_and_deviation(cell.sample) for cell in (pair.reference, pair.variant)]
    row.append(f"{len(pair.reference.seeds)}, {len(pair.variant.seeds)}")
    if gap is None:
        row += ["not comparable", "–", "–", "not measured alike"]
    else:
        row += [signed(gap.value), in_errors(gap), p_value(gap), gap.basis]
    return (*row, "; ".join(pair.changes) or "none")


def _record(pair: Pair, names: tuple[str, str]) -> dict[str, object]:
    gap = pair.gap
    return {
        "reference": names[0],
        "variant": names[1],
        **pair.variant.setting._asdict(),
        "reference_mean": pair.reference.sample.mean,
        "reference_deviation": pair.reference.sample.deviation,
        "reference_seeds": pair.reference.sample.count,
        "variant_mean": pair.variant.sample.mean,
        "variant_deviation": pair.variant.sample.deviation,
        "variant_seeds": pair.variant.sample.count,
        "difference": gap and gap.value,
        "standard_error": gap and gap.standard_error,
        "p_value": gap and gap.p_value,
        "error_from": gap and gap.basis,
        "changed_settings": "; ".join(pair.changes),
    }


def compare(
    trees: Sequence[tuple[Path, Sequence[Result]]],
) -> tuple[Document, list[dict[str, object]]]:
    """Compares every tree after the first with the first.

    Returns:
      The document, and one flat record for each pair of cells.
    """
    (reference_path, reference_results), *others = trees
    references = gather(reference_results)
    tables, records = [], []
    for path, results in others:
        pairs = pair_up(references, gather(results))
        header = ("data", "struct", "k", "baseline", "reference", "variant", "seeds", "difference")
        tables.append(
            Table(
                title=f"{path} against {reference_path}",
                notes=() if pairs else ("They share no data set, struct, k and baseline.",),
                header=(*header, "in standard errors", "p", "error from", "changed settings"),
                rows=tuple(_row(pair) for pair in pairs),
            )
        )
        records += [_record(pair, (str(reference_path), str(path))) for pair in pairs]
    return Document("Comparison", _NOTES, tuple(tables)), records
