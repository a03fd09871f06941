"""A finished run as a small directory to be shipped: its best model, its results, a model card.

What is left out is what only training needs: optimiser slots, logs, TensorBoard events. An exported
model is a run directory still: `dvae.load` and the modes of run.py read it as they read any other.
"""

import dataclasses
import json
import os
import shlex
import shutil
from pathlib import Path
from typing import Any

from configs.errors import UserError
from configs.files import aside_of, exists, open_to_read
from configs.paper import ExperimentConfig
from configs.text import markdown, one_row
from dvae.runs.checkpoint_store import checkpoint_files
from dvae.runs.checkpoints import check_best
from dvae.runs.directory import RunDirectory
from dvae.runs.json_files import read_json
from dvae.runs.records import (
    checkpoint_place,
    read_bound,
    read_config,
    read_result,
    version_name,
    write_bound,
    write_config,
)
from dvae.runs.result import span
from dvae.runs.trained_model import TrainedModel
from samplers.log_partition_value import UNTRUSTED

_SOURCES = {
    ("dvae_spike_exp",): "Rolfe 2017, Discrete Variational Autoencoders, ICLR, arXiv 1609.02200",
    ("dvaepp_exp", "dvaepp_power"): "Vahdat, Macready, Bian, Khoshaman, Andriyash 2018, DVAE++: "
    "Discrete Variational Autoencoders with Overlapping Transformations, ICML, arXiv 1802.04920",
    ("dvaes_gi", "dvaes_gauss", "dvaes_exp", "dvaes_unexp", "dvaes_power"): "Vahdat, Andriyash, "
    "Macready 2018, DVAE#: Discrete Variational Autoencoders with Relaxed Boltzmann Priors, "
    "NeurIPS, arXiv 1805.07445",
    ("gumbolt",): "Khoshaman, Amin 2018, GumBolt: Extending Gumbel trick to Boltzmann priors, "
    "NeurIPS, arXiv 1805.07349",
    ("pwl", "concrete"): "Andriyash, Vahdat, Macready 2018, Improved Gradient-Based Optimization "
    "Over Discrete Distributions, arXiv 1810.00116; compared in Vahdat, Andriyash, Macready 2019, "
    "arXiv 1901.03440",
    ("st",): "Bengio, Léonard, Courville 2013, Estimating or Propagating Gradients Through "
    "Stochastic Neurons for Conditional Computation, arXiv 1308.3432",
    ("reinmax",): "Liu, Dong, Liu, Yu, Gao 2023, Bridging Discrete and Backpropagation: "
    "Straight-Through and Beyond, NeurIPS, arXiv 2304.08612",
    ("loo",): "Kool, van Hoof, Welling 2019, Buy 4 REINFORCE Samples, Get a Baseline for Free!, "
    "ICLR workshop on deep reinforcement learning meets structured prediction",
    ("vimco",): "Mnih, Rezende 2016, Variational Inference for Monte Carlo Objectives, ICML, "
    "arXiv 1602.06725",
    ("disarm",): "Dong, Mnih, Tucker 2020, DisARM: An Antithetic Gradient Estimator for Binary "
    "Latent Variables, NeurIPS, arXiv 2006.10680",
    ("rodeo",): "Shi, Zhou, Hwang, Titsias, Mackey 2022, Gradient Estimation with Discrete Stein "
    "Operators, NeurIPS, arXiv 2202.09497",
    ("dvaess_pwl", "dvaess_concrete"): "Vahdat, Andriyash, Macready 2019, Learning Undirected "
    "Posteriors by Backpropagation through MCMC Updates, arXiv 1901.03440",
}
_METHODS = {name: source for names, source in _SOURCES.items() for name in names}
_DATA = {
    "binarized_mnist": "Larochelle and Murray 2011, The Neural Autoregressive Distribution "
    "Estimator, AISTATS (the binarisation); LeCun, Bottou, Bengio, Haffner 1998 (MNIST)",
    "omniglot": "Burda, Grosse, Salakhutdinov 2016, Importance Weighted Autoencoders, ICLR (the "
    "format); Lake, Salakhutdinov, Tenenbaum 2015, Science 350 (OMNIGLOT)",
    "digits": "Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits, UCI Machine "
    "Learning Repository (CC BY 4.0), as bundled with scikit-learn",
}
_MAX_BYTES = 1 << 40
_REMEDY = "put the file itself there"
_UPPER = {
    "certified": "reverse AIS from exact samples bounds it from above on average: certified",
    "checked": "reverse AIS from the run's own chains is a check of the upper side and no "
    "certificate: it is blind to what the chains have never visited",
}

_CARD = """# {name}

{method}, structure {struct}, k = {k}, trained on {dataset} with the {sampler} sampler for
{steps:,} steps (seed {seed}); the model is that of step {best_step:,}, the best by validation NLL.

| | |
|---|---|
| test NLL | **{nll:.2f} nats**, 95 % interval {near}; {wide} |
| validation NLL | {val_nll:.2f} nats (100 importance samples) |
| log Z of the prior | **{log_z:.3f} nats**, 95 % interval {z_span} |
| what certifies log Z | {certificate} |
| data | {data} |
| SHA-256 of the data's arrays | `{sha256}` |
| test protocol | {samples:,} importance samples, {images:,} test images, {binarization} |
| AIS | {chains} chains, {temperatures:,} temperatures, {base} base |
| code | {code} |

The test NLL is the importance-weighted bound of binary latents plus log Z, on average too high by
what the number of samples leaves and too low by what AIS misses of log Z; the first interval is
that of log Z and importance sampling.

![samples of the model](samples.png)

## Use

```
python run.py --mode=generate --run={path}     # no data set needed
python run.py --mode=log_z --run={path}        # no data set needed
python run.py --mode=evaluate --run={path} --data_dir=datasets
```

They write to `logs/models/{span}`, or where `--out_dir` says, never into this directory. In Python:

```python
import dvae

model = dvae.load({quoted})
model.sample(100), model.log_partition()
```

**Intended for** research: as a baseline whose likelihood can be checked, as a trained prior to try
samplers and estimators of log Z on, and for demonstrations. **Limits**: it knows {dataset} alone,
at {height}x{width} pixels of 0 and 1; one seed, so its NLL says nothing of the spread between
seeds; {schedule}; samples are as good as block-Gibbs chains started from the stored ones.

`config.json` and `result.json` hold every setting and number, `checkpoints/` the weights and the
prior's chains, `data.json` what the model needs of its data (image shape and mean pixels).

## Cite

- the method: {method_source}
- the data: {data_source}
- this implementation, by its repository and the code version above.

Licence: Apache-2.0, as the code.
"""


def model_name(config: ExperimentConfig) -> str:
    """The name of an exported model: <dataset>-<struct>-<baseline>-k<k>."""
    dataset = Path(config.dataset).stem
    return f"{dataset}-{config.struct}-{config.baseline}-k{config.k}"


def _without_place(note: str) -> str:
    """What a loader says of its data, but for where on a machine it found them."""
    return note.split("; from ")[0]


def _certificate(interval: dict[str, Any]) -> str:
    if interval["exact"] is not None:
        return "exact: the prior was enumerated"
    if not interval.get("trusted", True):
        return f"nothing: it is **{UNTRUSTED}**. {'; '.join(interval['reasons'])}"
    return (
        f"forward AIS {interval['forward_ais']:.3f} ± {interval['forward_ais_stderr']:.3f} "
        f"(effective sample size {interval['forward_ais_ess']:.0f}); at least "
        f"{interval['markov_lower_bound']:.3f} with 95 % probability, whatever the weights look "
        f"like (Markov); reverse AIS {interval['reverse_ais']:.3f} ± "
        f"{interval['reverse_ais_stderr']:.3f}. {_UPPER[interval['upper_status']]}"
    )


def _with_test_set(interval: dict[str, Any]) -> str:
    words = span(interval["low_with_test_set"], interval["high_with_test_set"])
    doubts = interval.get("reasons", [])
    return f"with the finite test set {words}" + (
        f"; it is **{UNTRUSTED}**: {'; '.join(doubts)}" if doubts else ""
    )


def model_card(
    config: ExperimentConfig,
    result: dict[str, Any],
    facts: dict[str, Any],
    path: Path | None = None,
) -> str:
    """The text of an exported model's README.md, all of it from result.json and data.json.

    path: where it lies, for the commands that use it; None: as those of this repository.
    """
    nll, z, protocol = result["nll_interval"], result["log_z_interval"], result["protocol"]
    published = ExperimentConfig.num_train_iter
    steps = config.num_train_iter
    reduced = f"a schedule of {steps:,} steps where the papers have {published:,}"
    name = model_name(config)
    path = Path("models", name) if path is None else path
    dataset = Path(config.dataset).stem
    return _CARD.format(
        name=markdown(name),
        span=path.name.replace("`", "'"),  # nothing within a span of code is escaped
        path=shlex.quote(str(path)),
        quoted=json.dumps(str(path), ensure_ascii=False),
        method=config.baseline,
        struct=config.struct,
        k=config.k,
        dataset=markdown(dataset),
        sampler=config.sampler,
        steps=steps,
        seed=config.seed,
        best_step=result["best_step"],
        nll=result["test_nll"],
        near=span(nll["low"], nll["high"]),
        wide=_with_test_set(nll),
        val_nll=result["val_nll"],
        log_z=result["log_z"],
        z_span=span(z["low"], z["high"], 3),
        certificate=_certificate(z),
        data=markdown(str(facts["notes"])),
        sha256=one_row(protocol["data_sha256"]).replace("`", "'"),
        samples=protocol["importance_samples"],
        images=protocol["num_test_images"],
        binarization=markdown(f"binarisation {protocol['test_binarization']}"),
        chains=protocol["ais_chains"],
        temperatures=protocol["ais_temperatures"],
        base=markdown(protocol["ais_base"]),
        code=markdown(version_name(result["code"])),
        height=facts["image_shape"][0],
        width=facts["image_shape"][1],
        schedule=reduced if steps < published else "the published number of steps",
        method_source=_METHODS.get(config.baseline, "your own"),
        data_source=_DATA.get(dataset, "your own"),
    )


def _shown(target: Path) -> Path:
    """How a card names its directory: from where it was exported, or, elsewhere, its name alone.

    A card is for others, and says nothing of the places of a machine.
    """
    try:
        return target.absolute().relative_to(Path.cwd())
    except ValueError:
        return Path(target.name)


def _copy_facts(run: RunDirectory, target: RunDirectory) -> None:
    """Copies data.json, without the data's place on a machine."""
    run.read_data_facts()
    facts = read_bound(run.data)
    identity = facts.pop("identity")
    write_bound(target.data, facts | {"notes": _without_place(str(facts["notes"]))}, identity)


def copy_file(run: Path, name: str, target: Path) -> None:
    """Copies run/NAME to target/NAME: a regular file, which no link on the way leads to.

    Raises:
      UserError: it is anything else. A model that somebody sent could pass off any file of this
        machine as its own by a link.
      OSError: it cannot be written.
    """
    path = run / name
    for parent in path.relative_to(run).parents[:-1]:
        if (run / parent).is_symlink():
            raise UserError(f"{run / parent} is a link: a model is exported from files of its own")
    copy = target / name
    copy.parent.mkdir(parents=True, exist_ok=True)
    with (
        open_to_read(path, _MAX_BYTES, _REMEDY, follow_links=False) as source,
        copy.open("xb") as to,
    ):
        shutil.copyfileobj(source, to)


def copy_result(run: Path, target: Path) -> None:
    """Copies config.json and result.json, without the data's place on a machine.

    Raises:
      UserError: the result is damaged or of another run.
      OSError: nothing can be written.
    """
    found, result = read_config(run), read_result(run / "result.json")
    result["protocol"]["data"] = _without_place(result["protocol"]["data"])
    if found.config.has_own_data:
        config = dataclasses.replace(found.config, dataset=found.config.dataset_name)
        found = found._replace(config=config)
    write_config(target / "config.json", found)
    write_bound(target / "result.json", result, result.pop("identity"))


def _fill(run: RunDirectory, target: RunDirectory) -> None:
    """Everything but the card; the checkpoint byte for byte."""
    result = read_result(run.result)
    best = checkpoint_place(run.path, "best", result["best_step"])
    check_best(run, result["best_step"])
    for name in (run.config, run.data, run.result):
        if name.is_symlink():
            raise UserError(f"{name} is a link, not a file; {_REMEDY}")
    for name in checkpoint_files(best):
        copy_file(run.path, f"{run.checkpoints.name}/{best.name}/{name}", target.path)
    if exists(run.path / "samples.png"):
        copy_file(run.path, "samples.png", target.path)
    _copy_facts(run, target)
    copy_result(run.path, target.path)


def export_run(path: Path, target: Path | None = None) -> Path:
    """Writes the best model of a finished run as a small directory that works on its own.

    Args:
      path: the run directory; it is only read.
      target: the new directory; None: exported/<dataset>-<struct>-<baseline>-k<k>-<the last part
        of a run's path>, which no shipped model and no table's directory has.

    Returns:
      The new directory: config.json, data.json, result.json, README.md (the model card),
      samples.png and the best checkpoint. It has been read back once.

    Raises:
      UserError: the run is unfinished or damaged, or the directory is there already or cannot be
        written.
    """
    run = RunDirectory(path)
    config, _ = run.read_config()
    if not run.result.exists():
        raise UserError(f"{path} is not finished: its command, started again, goes on or says why")
    if target is None:
        target = Path("exported") / f"{model_name(config)}-{config.run_directory('.').name}"
    if target.exists():
        raise UserError(f"{target} exists: remove it, or choose another --out_dir")
    aside = RunDirectory(aside_of(target))
    try:
        aside.path.mkdir(parents=True)
        _fill(run, aside)
        TrainedModel(aside.path)
        card = model_card(config, read_result(aside.result), read_json(aside.data), _shown(target))
        with aside.card.open("x", encoding="utf-8", errors="backslashreplace") as file:
            file.write(card)
        os.rename(aside.path, target)
    except OSError as error:
        raise UserError(f"cannot write {target} ({error.strerror})") from None
    except KeyError as error:
        raise UserError(f"{path} is damaged: a record lacks {error}; restore it") from None
    finally:
        shutil.rmtree(aside.path, ignore_errors=True)
    return target
