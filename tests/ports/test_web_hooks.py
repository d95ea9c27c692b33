"""Web hooks: where nothing is ever sent, whatever the URL is called."""

import ipaddress
import socket
import threading
from typing import Any

import pytest

from rota.backends import web_hooks
from rota.backends.web_hooks import Target, allowed, post, resolve
from rota.errors import InvalidInput, Refused, Unavailable

NEVER = [
    "169.254.169.254",
    "169.254.170.2",
    "fd00:ec2::254",
    "fe80::1",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::",
    "0.0.0.0",
    "::",
    "224.0.0.1",
    "ff02::1",
    "168.63.129.16",
    "100.100.100.200",
    "240.0.0.1",
    "255.255.255.255",
]
PRIVATE = ["10.0.0.1", "172.16.0.1", "192.168.1.1", "fd12::1", "100.64.0.1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::"]
PUBLIC = ["93.184.216.34", "2606:4700::1111", "::ffff:93.184.216.34"]
LOOPBACK = ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A resolver with answers of our own, one list after another."""
    answers: list[list[str]] = []

    def getaddrinfo(host: str, port: int, *_: Any, **__: Any) -> Any:
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        return [(socket.AF_INET6 if ":" in each else socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in found]

    monkeypatch.setattr(web_hooks.socket, "getaddrinfo", getaddrinfo)
    return answers


@pytest.mark.parametrize("address", NEVER)
def test_metadata_and_link_local_addresses_are_never_sent_to(address: str) -> None:
    for private in (False, True):
        for local in (False, True):
            assert not allowed(ipaddress.ip_address(address), local=local, private=private)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_networks_only_when_a_setting_says_so(address: str) -> None:
    assert not allowed(ipaddress.ip_address(address), local=False, private=False)
    assert allowed(ipaddress.ip_address(address), local=False, private=True)


@pytest.mark.parametrize("address", LOOPBACK)
def test_this_machine_only_when_the_url_says_so(address: str) -> None:
    for private in (False, True):
        assert not allowed(ipaddress.ip_address(address), local=False, private=private)
        assert allowed(ipaddress.ip_address(address), local=True, private=private)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_sent_to(address: str) -> None:
    assert allowed(ipaddress.ip_address(address), local=False, private=False)


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example/x",
        "http://10.0.0.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "https://user:hidden@host/",
        "gopher://127.0.0.1/",
        "https://host\\@evil/ x",
    ],
)
def test_plain_http_elsewhere_and_odd_urls_are_no_targets(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Target.of(url)
    assert "hidden" not in str(caught.value)


def test_a_target_does_not_show_its_path() -> None:
    target = Target.of("https://hooks.example:8443/T000/secret?key=secret")
    assert "secret" not in repr(target)
    assert (target.shown, target.path, target.port) == ("hooks.example:8443", "/T000/secret?key=secret", 8443)


def test_a_name_that_leads_to_one_forbidden_address_is_not_used_at_all(names: Any) -> None:
    names.append(["93.184.216.34", "169.254.169.254"])
    with pytest.raises(Refused, match=r"169\.254\.169\.254.*never are"):
        post(Target.of("https://hooks.example/secret"), b"", {}, timeout_s=1)


@pytest.mark.parametrize(("scheme", "port"), [("https", 443), ("http", 80)])
def test_a_name_that_changes_its_mind_gains_nothing(names: Any, monkeypatch: pytest.MonkeyPatch, scheme: str, port: int) -> None:
    """The first answer is checked and connected to; a second question, which would lead here, is never asked."""
    names += [["93.184.216.34"], ["127.0.0.1"]]
    reached = []

    def connect(address: Any, *_: Any) -> Any:
        reached.append(address)
        raise OSError("no network in tests")

    monkeypatch.setattr(web_hooks.socket, "create_connection", connect)
    with pytest.raises(Unavailable):
        post(Target.of(f"{scheme}://hooks.example/secret", private=True), b"", {}, timeout_s=1)
    assert reached == [("93.184.216.34", port)]
    assert len(names) == 1


def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        heard = []

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                heard.append(connection.recv(65_536))
                connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        assert post(Target.of(f"http://localhost:{listener.getsockname()[1]}/hook?key=1"), b"{}", {"x-y": "z"}, timeout_s=60) == 204
        thread.join()
    assert heard[0].startswith(b"POST /hook?key=1 HTTP/1.1\r\nHost: localhost:")


def test_an_encrypted_hook_needs_the_certificate_of_its_host(names: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        names.append(["127.0.0.1"])

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(10)
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(Unavailable):
            post(Target.of(f"https://localhost:{listener.getsockname()[1]}/"), b"{}", {}, timeout_s=60)
        thread.join()


def test_a_name_that_is_nobody_s_is_unavailable() -> None:
    with pytest.raises(OSError, match=r".+"):
        resolve(Target.of("https://nobody.invalid/"))
    with pytest.raises(Unavailable):
        post(Target.of("https://nobody.invalid/"), b"", {}, timeout_s=1)
