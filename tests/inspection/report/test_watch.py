"""The growing report is served to this machine alone."""

import http.client

import pytest

from report_files import write_run
from saltlm.errors import OutputError
from saltlm.inspection.report.watch import watch

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])  # and no other


@pytest.fixture
def served(tmp_path):
    """A watched directory that does not exist yet, and a function that asks for a path."""
    with watch(tmp_path / "run", port=0) as watched:
        port = int(watched.url.rstrip("/").rpartition(":")[2])

        def ask(path, host=f"127.0.0.1:{port}"):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", path, headers={"Host": host})
            answer = connection.getresponse()
            text = answer.read().decode()
            connection.close()
            return answer, text

        yield tmp_path / "run", ask, port


def test_the_page_grows_with_the_run(served):
    directory, ask, _ = served
    answer, page = ask("/")
    assert "Waiting: saltlm has saved nothing in" in page
    assert answer.getheader("Cache-Control") == "no-store"
    assert "connect-src &#39;self&#39;" in page
    _, before = ask("/version")
    write_run(directory)
    _, after = ask("/version")
    assert before != after == ask("/version")[1]
    page = ask("/")[1]
    assert "Waiting" not in page
    assert "measured while run was trained" in page


def test_only_this_machine_is_answered_and_only_the_page(served):
    _, ask, port = served
    assert ask("/version", f"localhost:{port}")[0].status == 200
    assert ask("/", f"evil.example:{port}")[0].status == 403
    assert ask("/../../etc/passwd")[0].status == 404


def test_a_taken_port_is_told(served):
    port = served[2]
    with pytest.raises(OutputError, match=f"port {port} cannot be .*\nhint: choose another --port"):
        watch("x", port=port)


def test_what_is_no_port_is_told():
    with pytest.raises(OutputError, match="port 70000 cannot be .*: it is not one of 0 to 65535"):
        watch("x", port=70_000)
