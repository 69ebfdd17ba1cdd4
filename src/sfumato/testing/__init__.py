"""Checks that every obfuscator and every detector passes, built-in or plug-in.

A plug-in's whole test is a loop:

    @pytest.mark.parametrize("check", OBFUSCATOR_CHECKS, ids=lambda check: check.__name__)
    def test_conformance(check):
        check(MyObfuscator())

and the same with `DETECTOR_CHECKS`. Each check raises AssertionError with a sentence that says what is wrong.
A method that hides nothing on purpose (the control arm) passes those in `SAFETY_CHECKS`, not those in
`HIDING_CHECKS`.
"""

from sfumato.testing.detectors import DETECTOR_CHECKS
from sfumato.testing.obfuscators import HIDING_CHECKS, OBFUSCATOR_CHECKS, SAFETY_CHECKS

__all__ = ["DETECTOR_CHECKS", "HIDING_CHECKS", "OBFUSCATOR_CHECKS", "SAFETY_CHECKS"]
