"""The data sets, one entry each: nothing else knows their names. A user's own file needs none."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from configs.errors import UnknownName, UserError, name_of
from configs.registry import BASELINES, Target, by_structure
from configs.setting import value_text


@dataclass(frozen=True)
class DatasetEntry:
    """What is to be known of a data set before it is read.

    loader: makes a `data.Dataset` from (this entry, --data_dir): a function, or "module:function",
      where ".module" is in `data`.
    citation: the publication to be cited.
    image_shape: (height, width).
    sizes: images of train, validation and test, as published.
    files: digest ("sha256:HEX" or "md5:HEX") of each published file by its URL; empty where nothing
      is downloaded and so no --data_dir is needed.
    folder: of --data_dir, in which the files are kept.
    eval_batch_size: --eval_batchsize when it is not given.
    sharpness: β when --beta is not given, by method and structure; a method that is not named takes
      its own.
    """

    loader: Target
    citation: str
    image_shape: tuple[int, int]
    sizes: tuple[int, int, int]
    files: Mapping[str, str] = field(default_factory=dict)
    folder: str = ""
    eval_batch_size: int = 1000
    sharpness: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


_MNIST_URL = "https://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/binarized_mnist_"
_OMNIGLOT_URL = "https://raw.githubusercontent.com/yburda/iwae/master/datasets/OMNIGLOT/"

# The first is the default. Evaluation batches are those of the 2018 command line.
DATASETS: dict[str, DatasetEntry] = {
    "binarized_mnist": DatasetEntry(
        loader=".binarized_mnist:load",
        citation="Larochelle and Murray 2011, The Neural Autoregressive Distribution Estimator, "
        "AISTATS (the binarisation); LeCun, Bottou, Bengio, Haffner 1998 (MNIST)",
        image_shape=(28, 28),
        sizes=(50_000, 10_000, 10_000),
        # As recorded by TensorFlow Datasets (binarized_mnist.txt).
        files={
            f"{_MNIST_URL}{split}.amat": f"sha256:{digest}"
            for split, digest in (
                ("train", "ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d"),
                ("valid", "1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2"),
                ("test", "e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c"),
            )
        },
        folder="binarized_mnist",
    ),
    "omniglot": DatasetEntry(
        loader=".omniglot:load",
        citation="Burda, Grosse, Salakhutdinov 2016, Importance Weighted Autoencoders, ICLR (the "
        "format); Lake, Salakhutdinov, Tenenbaum 2015, Science 350 (OMNIGLOT)",
        image_shape=(28, 28),
        sizes=(23_000, 1345, 8070),
        files={f"{_OMNIGLOT_URL}chardata.mat": "md5:21ecaf34373511aa7691cf2e0802aa3d"},
        folder="OMNIGLOT",
        eval_batch_size=269,
        sharpness={
            "dvae_spike_exp": by_structure(4),
            "dvaepp_exp": by_structure(14, 12, 10),
            "dvaepp_power": by_structure(40, 40, 30),
            "dvaes_gi": by_structure(40, 30, 25),
            "dvaes_gauss": by_structure(40, 25, 25),
            "dvaes_exp": by_structure(12, 10, 8),
            "dvaes_unexp": by_structure(40, 16, 16),
            "dvaes_power": by_structure(40, 30, 20),
            "pwl": by_structure(3),
            "dvaess_pwl": by_structure(3),
        },
    ),
    "digits": DatasetEntry(
        loader=".digits:load",
        citation="Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits, UCI Machine "
        "Learning Repository (CC BY 4.0), as bundled with scikit-learn",
        image_shape=(8, 8),
        sizes=(1297, 200, 300),  # the split is our own
    ),
}


def check_known(dataset: str) -> None:
    """Raises UserError unless this is the name of a data set, or of an .npz file."""
    if dataset in DATASETS or dataset.endswith(".npz"):
        return
    given, stem = f"{name_of('dataset')}={value_text(dataset, quotes=False)}", Path(dataset).stem
    if Path(dataset).name != stem:  # a file, such as .npy
        raise UserError(
            f"{given} is not an .npz file: split its images, and save np.savez_compressed("
            f"{value_text(stem + '.npz')}, train=..., validation=..., test=...)"
        )
    choice = ", ".join(DATASETS)
    raise UnknownName(given, f"{choice}, or the path of an .npz file")


def published_sharpness(baseline: str, struct: str, dataset: str | None = None) -> float:
    """β of the published runs; without the name of a data set, the method's own.

    Of a method that has none 1, for the names of run directories.
    """
    own = BASELINES[baseline].sharpness or by_structure(1)
    by_struct = DATASETS[dataset].sharpness.get(baseline, own) if dataset in DATASETS else own
    return float(by_struct.get(struct, by_struct["2-layer-nonlin"]))
