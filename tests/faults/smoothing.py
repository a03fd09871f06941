"""Faults of the smoothing distributions."""

from tests.faults import change, constant, fault, one_step

FAULTS = (
    fault(
        "B(ζ) has the wrong sign",
        change(
            "dvae.smoothing:Smoothing.log_ratio",
            "self.log_density_at_1(relaxed) - self.log_density_at_0(relaxed)",
            "self.log_density_at_0(relaxed) - self.log_density_at_1(relaxed)",
        ),
        *one_step("dvaes_gauss-1-5", "dvaepp_exp-2-5"),
    ),
    fault(
        "R1 is R0 of the mirror image",
        change("dvae.smoothing:MirroredSmoothing.cdf_at_1", "1.0 - self.cdf", "0.0 + self.cdf"),
        *one_step("dvaes_gauss-1-5"),
    ),
    fault(
        "samples are mirrored for z = 0",
        change("dvae.smoothing:MirroredSmoothing.sample", "binary > 0.5", "binary < 0.5"),
        *one_step("dvaes_gauss-1-5"),
    ),
    fault(
        "the exponential is not normalised",
        change(
            "dvae.smoothing:Exponential.log_density_at_0", "- math.log(-math.expm1(-beta)) ", ""
        ),
        *one_step("dvaes_exp-1-5"),
    ),
    fault(
        "the sharpness of the exponential is squared",
        change(
            "dvae.smoothing:Exponential.sample_at_0",
            "* rho) / self.sharpness",
            "* rho) / self.sharpness**2",
        ),
        *one_step("dvaes_exp-1-5"),
    ),
    fault(
        "power smoothing has no offset",
        constant("dvae.smoothing:POWER_OFFSET", 0.0),
        "dvae/test_smoothing.py::test_power_at_its_ends",
    ),
    fault(
        "power smoothing has another offset",
        constant("dvae.smoothing:POWER_OFFSET", 1e-5),
        "dvae/test_smoothing.py::test_power_at_its_ends",
    ),
    fault(
        "power smoothing takes β for λ",
        change("dvae.smoothing:Power.log_density_at_0", "1.0 / self.sharpness", "self.sharpness"),
        *one_step("dvaes_power-1-5"),
    ),
    fault(
        "the density of power smoothing is not normalised",
        change("dvae.smoothing:Power.log_density_at_0", " + math.log(exponent)", ""),
        *one_step("dvaes_power-1-5"),
    ),
    fault(
        "the share of the uniform is another",
        constant("dvae.smoothing:UNIFORM_SHARE", 0.1),
        *one_step("dvaes_unexp-1-5"),
    ),
    fault(
        "the uniform shares its numbers with the choice of it",
        change(
            "dvae.smoothing:UniformExponential.sample_at_0", "uniform(keys[1]", "uniform(keys[0]"
        ),
        "dvae/test_smoothing.py::test_share_of_the_uniform",
    ),
    fault(
        "the Gaussian's β is its standard deviation",
        change("dvae.smoothing:Gaussian.scale", "self.sharpness**-0.5", "1.0 / self.sharpness"),
        *one_step("dvaes_gauss-1-5"),
    ),
)
