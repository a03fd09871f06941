"""Result directories made by hand, as run.py would leave them: for tests of tables."""

import json
import struct
import zlib

from configs.experiment import build_config
from dvae.runs import records

_SETTINGS = "dataset struct baseline sampler k seed num_train_iter eval_iw_samples".split()
_MEASURING = ("ais_temperatures", "ais_chains", "ais_base")
LOADED = "3 train images: the published file; from /somewhere/file.npz"


def config_of(**fields):
    values = dict(dataset="binarized_mnist", struct="1-layer-nonlin", baseline="dvaes_power")
    return build_config(**(values | fields))


def record_of(config, nll, half_width=0.02, log_z_error=0.03, sha="ab" * 32, **changed):
    """A result.json with round numbers; of what holds others, those that are given are changed."""
    unknown = ("exact", "forward_ais", "forward_ais_stderr", "forward_ais_ess")
    unknown += ("markov_lower_bound", "reverse_ais", "reverse_ais_stderr")
    log_z = dict(low=100.0 - log_z_error, high=100.0 + log_z_error / 2, trusted=True, reasons=[])
    interval = dict(low=nll - half_width, high=nll + half_width, trusted=True, reasons=[])
    interval |= dict(low_with_test_set=None, high_with_test_set=None)
    interval["log_z"] = [-log_z_error, log_z_error / 2]
    published = changed.pop("published_data", True)
    protocol = dict(data_sha256=sha, published_data=published, checkpoint="best")
    protocol |= dict(data=changed.pop("data_note", LOADED), num_test_images=10)
    protocol |= dict(training_binarization="fixed", test_binarization="fixed")
    protocol |= {name: getattr(config, name) for name in _MEASURING}
    record = {name: getattr(config, name) for name in _SETTINGS}
    record |= dict(test_nll=nll, test_neg_elbo=nll + 4.0, unnormalized_nll=nll - 100.0)
    record |= dict(val_nll=nll + 0.5, log_z=100.0, log_z_stderr=log_z_error / 2)
    record |= dict(ms_per_step=36.0, device="CPU", best_step=2, earlier_code=[])
    record |= {
        "log_z_interval": {**log_z, "upper_status": "checked", **dict.fromkeys(unknown)},
        "nll_interval": interval,
        "protocol": protocol | {"importance_samples": config.eval_iw_samples},
        "code": {"commit": "c0ffee", "sources": "0123"},
    }
    for name, value in changed.items():
        record[name] = {**record[name], **value} if isinstance(value, dict) else value
    return record


def png(width=4, height=4, rows=None):
    """A grey picture; `rows` are its bytes, whether they fit or not."""

    def chunk(kind, content):
        framed = kind + content
        return struct.pack(">I", len(content)) + framed + struct.pack(">I", zlib.crc32(framed))

    if rows is None:
        rows = b"".join(b"\0" + bytes(range(60 * r, 60 * r + width)) for r in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def write(log_dir, nll, record_changes=None, **fields):
    """One finished run under a directory; returns the run's directory."""
    config = config_of(**fields)
    directory = config.run_directory(log_dir)
    write_finished(directory, config, record_of(config, nll, **(record_changes or {})))
    return directory


def write_finished(directory, config, record):
    """Everything of a finished run that a table reads; result.json last."""
    directory.mkdir(parents=True, exist_ok=True)
    run = records.RunConfig(config, record["protocol"]["data_sha256"])
    records.write_config(directory / "config.json", run)
    lines = [{"kind": "train", "step": 1, "train/neg_elbo": 9.0}]
    lines += [{"kind": "evaluation", "step": 2, "val/neg_ll": 8.0}]
    lines += [{"kind": "train", "step": 2, "train/neg_elbo": 7.0}]
    (directory / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (directory / "samples.png").write_bytes(png())
    records.write_result(directory, record)
