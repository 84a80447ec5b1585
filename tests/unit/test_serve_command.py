"""What `salt-sidecar serve` looks at before it imports Salt."""

from __future__ import annotations

from service.cli.serve import uid_faults


def test_a_uid_without_a_name_is_a_fault_that_names_the_fix() -> None:
    (fault,) = uid_faults(2**31 - 7)

    assert str(fault) == "uid: uid 2147483641 has no entry in /etc/passwd, and Salt asks for its name. Fix: run as a user that exists, in our image 450"
    assert uid_faults() == []
