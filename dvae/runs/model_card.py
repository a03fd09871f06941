"""The card of an exported model: what it is, how good, how to use and to cite it."""

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np

from configs.datasets import DATASETS
from configs.experiment import ExperimentConfig
from configs.programs import as_started
from configs.registry import BASELINES
from configs.text import markdown, one_row
from dvae.runs.code_version import version_name
from dvae.runs.result import span
from samplers.log_partition_value import UNTRUSTED

_UPPER = {
    "certified": "reverse AIS from exact samples bounds it from above on average: certified",
    "checked": "reverse AIS from the run's own chains is a check of the upper side and no "
    "certificate: it is blind to what the chains have never visited",
}

_CARD = """# {name}

{c.baseline}, structure {c.structure_name}, k = {c.k}, trained on {dataset} with the {c.sampler} \
sampler for
{c.num_train_iter:,} steps (seed {c.seed}); the model is that of step {r[best_step]:,}, the best \
by validation NLL.

| | |
|---|---|
| test NLL | **{r[test_nll]:.2f} nats**, 95 % interval {near}; {wide} |
| validation NLL | {r[val_nll]:.2f} nats (100 importance samples) |
| log Z of the prior | **{r[log_z]:.3f} nats**, 95 % interval {z_span} |
| what certifies log Z | {certificate} |
| data | {data} |
| SHA-256 of the data's arrays | `{sha256}` |
| test protocol | {p[importance_samples]:,} importance samples, {p[num_test_images]:,} test \
images, {binarization} |
| AIS | {p[ais_chains]} chains, {p[ais_temperatures]:,} temperatures, {base} base |
| code | {code} |

The test NLL is the importance-weighted bound of binary latents plus log Z, on average too high by
what the number of samples leaves and too low by what AIS misses of log Z; the first interval is
that of log Z and importance sampling.

![samples of the model](samples.png)

## Use

```
python run.py --mode=generate --run={path}     # no data set needed
python run.py --mode=log_z --run={path}        # no data set needed
python run.py --mode=evaluate --run={path} {where}
```

{own_data}\
They write to `logs/models/{span}`, or where `--out_dir` says, never into this directory. In Python:

```python
import dvae

model = dvae.load({quoted})
model.sample(100), model.log_partition()
```

**Intended for** research: as a baseline whose likelihood can be checked, as a trained prior to try
samplers and estimators of log Z on, and for demonstrations. **Limits**: it knows {dataset} alone,
at {shape[0]}x{shape[1]} pixels of 0 and 1; one seed, so its NLL says nothing of the spread between
seeds; {schedule}; samples are as good as block-Gibbs chains started from the stored ones.

`config.json` and `result.json` hold every setting and number, `checkpoints/` the weights and the
prior's chains, `data.json` what the model needs of its data (image shape and mean pixels).
`weights.npz` holds the same arrays for programs without TensorFlow: `examples/numpy_reader.py`
samples and decodes with NumPy alone.

| array of weights.npz | shape |
|---|---|
{arrays}
{edges}
## Cite

- the method: {method_source}
- the data: {data_source}
- this implementation, by its repository and the code version above.

Licence: Apache-2.0, as the code.
"""

_OWN_DATA = """The data are somebody's own: `--dataset` is where {file} lies; arrays that were
given to `dvae.train` lie in LOG_DIR/data.

"""
_EDGES = """
Number m of `prior.coupling` belongs to the latents i and j, counted from 0, in row m of
`prior.edges`.
"""


def model_name(config: ExperimentConfig) -> str:
    """The name of an exported model: <dataset>-<struct>-<baseline>-k<k>."""
    dataset = Path(config.dataset).stem
    return f"{dataset}-{config.structure_name}-{config.baseline}-k{config.k}"


def _certificate(interval: dict[str, Any]) -> str:
    if interval["exact"] is not None:
        return "exact: the prior was enumerated"
    if not interval["trusted"]:
        return f"nothing: it is **{UNTRUSTED}**. {'; '.join(interval['reasons'])}"
    return (
        f"forward AIS {interval['forward_ais']:.3f} ± {interval['forward_ais_stderr']:.3f} "
        f"(effective sample size {interval['forward_ais_ess']:.0f}); at least "
        f"{interval['markov_lower_bound']:.3f} with 95 % probability, whatever the weights look "
        f"like (Markov); reverse AIS {interval['reverse_ais']:.3f} ± "
        f"{interval['reverse_ais_stderr']:.3f}. {_UPPER[interval['upper_status']]}"
    )


def model_card(
    config: ExperimentConfig,
    result: dict[str, Any],
    facts: dict[str, Any],
    arrays: dict[str, np.ndarray],
    path: Path,
) -> str:
    """The text of an exported model's README.md, all of it from result.json and data.json.

    arrays: of weights.npz. path: where it lies: its last part is the title.
    """
    nll, z, protocol = result["nll_interval"], result["log_z_interval"], result["protocol"]
    wide = span(nll["low_with_test_set"], nll["high_with_test_set"])
    doubts = f"; it is **{UNTRUSTED}**: {'; '.join(nll['reasons'])}" if nll["reasons"] else ""
    steps, published = config.num_train_iter, ExperimentConfig.num_train_iter
    reduced = f"a schedule of {steps:,} steps where the papers have {published:,}"
    dataset = Path(config.dataset).stem
    file = one_row(config.dataset_name)
    return as_started(_CARD).format(
        c=config,
        r=result,
        p=protocol,
        name=markdown(path.name),
        shape=facts["image_shape"],
        span=path.name.replace("`", "'"),  # nothing within a span of code is escaped
        path=shlex.quote(str(path)),
        quoted=json.dumps(str(path), ensure_ascii=False),
        dataset=markdown(dataset),
        arrays="\n".join(
            f"| `{name}` | {' x '.join(map(str, array.shape))} |" for name, array in arrays.items()
        ),
        edges=_EDGES if "prior.edges" in arrays else "",
        where=f"--dataset={shlex.quote(file)}" if config.has_own_data else "--data_dir=datasets",
        own_data=_OWN_DATA.format(file=markdown(file)) if config.has_own_data else "",
        near=span(nll["low"], nll["high"]),
        wide=f"with the finite test set {wide}{doubts}",
        z_span=span(z["low"], z["high"], 3),
        certificate=_certificate(z),
        data=markdown(str(facts["notes"])),
        sha256=one_row(protocol["data_sha256"]).replace("`", "'"),
        binarization=markdown(f"binarisation {protocol['test_binarization']}"),
        base=markdown(protocol["ais_base"]),
        code=markdown(version_name(result["code"])),
        schedule=reduced if steps < published else "the published number of steps",
        method_source=BASELINES[config.baseline].source,
        data_source=DATASETS[config.dataset].citation if config.dataset in DATASETS else "your own",
    )
