"""A home and its secrets are their owner's alone."""

import logging
import os

import pytest

from rota.backends.home_secrets import OwnerToken, private_file, private_home
from rota.errors import Refused


def test_a_new_home_is_closed_and_an_open_one_of_ours_is_closed_and_told(tmp_path, caplog):
    umask = os.umask(0)
    try:
        assert private_home(tmp_path / "a" / "new").stat().st_mode & 0o777 == 0o700
        (tmp_path / "open").mkdir(mode=0o755)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert private_home(tmp_path / "open").stat().st_mode & 0o777 == 0o700
            told = [record.getMessage() for record in caplog.records if "could be entered" in record.getMessage()]
            assert told == [f"the home {tmp_path / 'open'} could be entered by others (mode 755); it is closed to them now (mode 700)"]
            private_home(tmp_path / "open")
            assert len([record for record in caplog.records if "could be entered" in record.getMessage()]) == 1
    finally:
        os.umask(umask)


@pytest.mark.parametrize(("mode", "told"), [(0o777, 1), (0o1777, 0), (0o755, 0)])
def test_a_parent_that_everybody_may_write_into_is_told(tmp_path, caplog, mode, told):
    parent = tmp_path / "parent"
    parent.mkdir()
    parent.chmod(mode)
    with caplog.at_level(logging.WARNING):
        private_home(parent / "home")
        private_home(parent / "home")
    assert len([record for record in caplog.records if str(parent) in record.getMessage()]) == told


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602, 0o666])
def test_a_secret_that_others_may_read_or_write_is_refused(tmp_path, mode):
    token = OwnerToken(tmp_path, "rota_")
    token.make()
    assert token.path.stat().st_mode & 0o777 == 0o600
    key = tmp_path / "signing.key"
    private_file(key, lambda: "k" * 64)
    for path in (token.path, key):
        path.chmod(mode)
    with pytest.raises(Refused, match="may be read by others"):
        token.now()
    with pytest.raises(Refused, match="chmod 600"):
        private_file(key, lambda: "other")
    token.path.chmod(0o600)
    assert token.now().startswith("rota_")
