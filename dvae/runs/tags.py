"""The tags of TensorBoard: what each shows, and where it stands on the pages for people."""

from typing import Any

from tensorboard.compat.proto.summary_pb2 import SummaryMetadata
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import metadata as layouts
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2
from tensorboard.plugins.hparams import metadata as hparams

# What metrics.jsonl calls log_z/train: here it does not stand among the estimates to be trusted.
TRACKED = "sampler/tracked_log_z"
# Capitals come first: TensorBoard sorts by letter, and opens the first two tags of its first page.
SAMPLES, RECONSTRUCTIONS, CHAINS = "Samples", "Reconstructions", "chains"
# Category, chart and tags of the page "Custom Scalars"; no tag is in two charts.
CHARTS = {
    "likelihood": {
        "negative log-likelihood": {
            "val/neg_ll": "validation NLL from 100 importance samples an image, an upper bound",
            "test/neg_ll": "test NLL from 100 importance samples an image, an upper bound",
        },
        "negative ELBO": {
            "val/neg_elbo": "negative ELBO of the validation images",
            "test/neg_elbo": "negative ELBO of the test images",
        },
    },
    "objective": {
        "training bound": {
            "train/neg_elbo": "what training minimises, the KL term with its warm-up; mean over "
            "the steps since the last summary",
            "train/neg_iw_loss": "what training minimises, the bound of K samples; mean over the "
            "steps since the last summary",
        },
        "its terms": {
            "obj/recon_loss": "-log p(x given z), mean over steps, images and samples",
            "obj/kl": "KL term with log Z, without the warm-up's weight",
            "obj/kl_gradient_surrogate": "has the gradient of the KL term, not its value",
        },
        "warm-up": {
            "kl_coeff": "weight of the KL term at this step, which rises to 1 over "
            "the first 30 % of a run; the terms are means over the steps before"
        },
    },
    "prior": {
        "log Z": {
            "log_z/ais": "log Z by annealed importance sampling from a base, a lower bound in mean",
            "log_z/ais_reverse": "the same in reverse from the prior's chains, an upper bound if "
            "these are samples",
            "log_z/quick_ais": "log Z by a quick AIS, which completes the training bound",
        },
        "may it be trusted?": {"log_z/ais_trusted": "1: every check of AIS holds; 0: one failed"},
        "standard error of log Z": {"log_z/ais_stderr": "standard error of log_z/ais"},
        "chains": {
            "sampler/ess": "effective size of the population after reweighting",
            "sampler/surviving_families": "ancestors of the population among that of the last "
            "step that 100 divides",
            "sampler/mean_energy": "mean energy of the persistent chains",
        },
        "tracked log Z: untrusted unless of its own population": {
            TRACKED: "log Z as the sampler follows it (log_z/train in "
            "metrics.jsonl); of the gradient's population it is biased",
        },
    },
    "posterior": {
        "units": {
            "posterior/active_q": "units whose q varies over images with a variance above 0.01",
            "b_zeta_num": "mean units an image with B(zeta) inside the clip of 10",
        },
    },
    "optimisation": {
        "norm of the gradient": {
            f"gradient_norm/{part}": f"root of the mean square of the gradient's norm, {of}, over "
            "about the last 1,000 updates: Adam's second moment"
            for part, of in {
                "encoder": "encoder",
                "decoder": "decoder",
                "prior": "prior",
                "total": "all weights",
            }.items()
        },
        "learning rate": {"learning_rate": "of Adam, as scheduled"},
        "weight decay": {
            f"weight_decay/{part}": f"penalty of the {part} weights"
            for part in ("encoder", "decoder", "total")
        },
        "skipped updates": {"train/skipped_updates": "updates so far that were not finite"},
        "time": {"ms_per_step": "milliseconds a training step, mean since the last summary"},
    },
}
_OTHERS = {
    "log_z/ais_ess": "effective size of the chains of AIS",
    "log_z/drift": "tracked log Z less log_z/ais",
    "sampler/resampled": "share of steps that resampled the population",
    "beta": "sharpness of the smoothing",
    "posterior/beta": "sharpness of the smoothing, under its other published name",
    "posterior/lambda": "width of the exponential smoothing, 1 / beta",
    "posterior/eps": "share of the uniform part of the smoothing",
    "posterior/sigma": "standard deviation of the Gaussian smoothing; mean where it is learned",
    "eigen/lambda": "lambda of the Gaussian integral, on the diagonal of M = W + lambda I",
    "eigen/max_eigen_val": "largest eigenvalue of M, which must be positive definite",
    "eigen/min_eigen_val": "smallest eigenvalue of M",
    "weight_norm": "norm of the prior's couplings",
    "result/test_nll": "test NLL of the best model, with all importance samples",
    "result/val_nll": "validation NLL of the best model",
    "result/log_z": "log Z of the best model's prior",
    "q": "q(z = 1 given x) of validation images",
    "mean_q": "q of each unit, mean over images",
    "var_q": "q of each unit, variance over images",
    "b_zeta": "B(zeta), log ratio of the smoothing's densities at z = 1 and z = 0",
    "b_zeta_clipped": "B(zeta) clipped to 10 on both sides",
    "sigma": "standard deviation of the Gaussian smoothing",
    "delta_mu": "learned shift of the Gaussian smoothing",
    "posterior_s": "scale of the Gaussian smoothing",
    RECONSTRUCTIONS: "validation images, each row above its reconstructions",
    SAMPLES: "what the decoder makes of the first hundred chains of the prior",
    CHAINS: "the first hundred chains of the prior, one a row; each column is a unit, white: 1",
    "flags": "the settings as they were used",
}
DESCRIPTIONS = _OTHERS | {
    tag: text
    for charts in CHARTS.values()
    for tags in charts.values()
    for tag, text in tags.items()
}
# Metrics of the page "HParams", and the settings that it shows without being asked: five at most.
RESULTS = {
    "result/test_nll": "test NLL",
    "result/val_nll": "validation NLL",
    "result/log_z": "log Z",
}
_FIRST_SETTINGS = ("baseline", "beta", "dataset", "k", "struct")
Written = tuple[str, bytes | float, SummaryMetadata]  # tag, value, what it is for


def layout() -> Written:
    """The page "Custom Scalars"."""
    page = layout_pb2.Layout()
    for category, charts in CHARTS.items():
        place = page.category.add(title=category)
        for title, tags in charts.items():
            lines = layout_pb2.MultilineChartContent(tag=[f"^{tag}$" for tag in tags])
            place.chart.add(title=title, multiline=lines)
    metadata = layouts.create_summary_metadata()
    return layouts.CONFIG_SUMMARY_TAG, page.SerializeToString(), metadata


def hparams_page(settings: dict[str, Any]) -> Written:
    """The page "HParams": results, and settings by name with their values in one of the runs."""
    kinds = {bool: "BOOL", str: "STRING"}
    page = api_pb2.Experiment()
    for name, value in settings.items():
        page.hparam_infos.add(
            name=name,
            type=f"DATA_TYPE_{kinds.get(type(value), 'FLOAT64')}",
            differs=name in _FIRST_SETTINGS,
        )
    for tag, title in RESULTS.items():
        page.metric_infos.add(name={"tag": tag}, display_name=title, description=DESCRIPTIONS[tag])
    content = plugin_data_pb2.HParamsPluginData(experiment=page)
    return hparams.EXPERIMENT_TAG, 0.0, hparams.create_summary_metadata(content)
