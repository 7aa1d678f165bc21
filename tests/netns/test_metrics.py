# SPDX-License-Identifier: GPL-2.0-or-later
"""Metrics, by the programs that read them: promtool, the parser of prometheus_client, Prometheus itself; and what conf/ has for
them: the alert rules, the dashboard. And --health, by which keepalived chooses."""
import contextlib
import json
import os
import re
import signal
import socket
import stat
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus_text

import ctnl
import lab

FLOWS = 300
PORT, PROMETHEUS = 9199, 9090
RULES = os.path.join(lab.ROOT, "conf/prometheus/ctsyncd.rules.yml")
DASHBOARD = os.path.join(lab.ROOT, "conf/grafana/ctsyncd.json")
NAME = re.compile(r"\bctsyncd_\w+")
UNIX_PAGE = "GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n"


def metrics_block(node):
    return f"\tMetrics {{\n\t\tPath {node.dir}/metrics\n\t\tIPv4_address 127.0.0.1\n\t\tPort {PORT}\n\t}}\n"


@pytest.fixture(scope="module")
def watched():
    """A pair that has everything of which there are metrics, with traffic, and a commit on the backup."""
    with lab.Pair(lab.OURS, lab.OURS) as pair:
        mode = "\tMode FTFW {\n\t\tWarmStandby on\n\t}\n\tOptions {\n\t\tExpectationSync on\n\t}\n"
        for node, local, peer in ((pair.active, "10.77.9.1", "10.77.9.2"), (pair.backup, "10.77.9.2", "10.77.9.1")):
            node.configure(mode + lab.link_block("TCP", local, peer), node.general(metrics_block(node)))
            node.start()
        pair.greeted()
        with ctnl.Table(pair.active) as table:
            for number in range(FLOWS):
                table.create(ctnl.udp_flow(number))
            lab.wait_for(lambda: pair.backup.external_count() == FLOWS, 10, "the flows at the backup")
            pair.backup.client("-c")
            lab.wait_for(lambda: metrics(pair.backup).get('ctsyncd_peer_state{peer="10.77.9.1",state="in_sync"}') == 1, 20,
                         lambda: f"the backup to be in sync:\n{pair.backup.out('-s', 'peers')}", 0.2)
            lab.wait_for(lambda: any(name.startswith("ctsyncd_peer_round_trip") for name in metrics(pair.backup)), 5,
                         "a round trip", 0.2)
            yield pair


def metrics(node):
    """{name{labels}: value} of what the client prints."""
    lines = node.out("--metrics").splitlines()
    assert lines[-1] == "# EOF"
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def page(node, path="/metrics", **fields):
    """(status, content type, body) over TCP."""
    with node.enter():
        try:
            with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{PORT}{path}", headers=fields), timeout=5) as answer:
                return answer.status, answer.headers["Content-Type"], answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.headers["Content-Type"], error.read().decode()


def unix_page(node, request):
    """The whole answer, over the UNIX socket."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(8)
        client.connect(f"{node.dir}/metrics")
        client.sendall(request.encode())
        answer = b""
        while piece := client.recv(65536):
            answer += piece
        return answer.decode()


def samples(families):
    """Those of parsed text, names as Prometheus stores them."""
    return {(sample.name, *sorted(sample.labels.items())) for family in families for sample in family.samples}


def names_in_document():
    with open(os.path.join(lab.ROOT, "doc/metrics.md"), encoding="utf-8") as file:
        return set(re.findall(r"^\| `(ctsyncd_\w+)`", file.read(), re.MULTILINE))


def queries():
    """Of the panels of the dashboard, and what it asks the nodes' names from."""
    with open(DASHBOARD, encoding="utf-8") as file:
        dashboard = json.load(file)
    found = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return found + [variable["query"] for variable in dashboard["templating"]["list"] if variable["type"] == "query"]


def stem(name):
    """The name of a histogram's family."""
    return re.sub(r"_seconds_(bucket|sum|count)$", "_seconds", name)


# --- The text ---

def test_names_are_those_of_the_document(watched):
    exported = {stem(NAME.match(name)[0]) for name in metrics(watched.backup)}
    assert exported == names_in_document()


def test_openmetrics_is_what_it_says_it_is(watched):
    """By a parser that takes nothing else."""
    families = list(openmetrics(watched.backup.out("--metrics")))
    assert len(families) == len(names_in_document())
    kinds = {family.name: family.type for family in families}
    assert kinds["ctsyncd_kernel_events"] == "counter" and kinds["ctsyncd_commit_duration_seconds"] == "histogram"
    assert {family.unit for family in families} == {"", "seconds", "bytes"}


def test_promtool_has_nothing_to_say(watched):
    checked = lab.run(["promtool", "check", "metrics"], input=watched.backup.out("--metrics", "prometheus"), check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
    broken = lab.run(["promtool", "check", "metrics"], input="ctsyncd_x_count 1\n", check=False)
    assert broken.returncode != 0, "it finds nothing anyway"


def test_both_formats_have_the_same_samples(watched):
    newer, older = openmetrics(watched.backup.out("--metrics")), prometheus_text(watched.backup.out("--metrics", "prometheus"))
    newer = samples(newer)
    assert newer == samples(older) and len(newer) > 150


def test_statistics_mode_has_its_own(node):
    node.configure(stats=True)
    node.start()
    found = metrics(node)
    assert found['ctsyncd_cache_entries{cache="internal",object="connection"}'] == 0
    assert not [name for name in found if re.match("ctsyncd_(peer|link|role|health|commit|queue|messages)_?", name)]


# --- The numbers ---

def test_values_are_those_of_the_statistics(watched):
    node = watched.backup

    def told(*topic):
        return json.loads(node.out("-s", *topic, "--json"))
    before = {topic: told(topic) for topic in ("ct", "expect", "network", "runtime", "link", "queue", "peers")}
    found = metrics(node)
    after = {topic: told(topic) for topic in before}
    compared = 0

    def same(name, of):
        nonlocal compared
        compared += 1
        assert of(before) <= found["ctsyncd_" + name] <= of(after), name
    for cache in ("internal", "external"):
        for topic, thing in (("ct", "connection"), ("expect", "expectation")):
            labels = f'cache="{cache}",object="{thing}"'
            same(f"cache_entries{{{labels}}}", lambda of: of[topic][cache]["active"])
            for operation, number in (("create", "created"), ("update", "updated"), ("destroy", "destroyed")):
                same(f'cache_operations_total{{{labels},operation="{operation}"}}', lambda of: of[topic][cache][number])
    link = '{link="0",device="sync0",transport="tcp"}'
    for number in ("sent_bytes", "sent_packets", "send_errors", "received_bytes", "received_packets", "receive_errors"):
        same(f"link_{number}_total{link}", lambda of: of["link"]["links"][0][number])
    for name, number in (("events", "events_received"), ("events_filtered", "events_filtered"), ("overruns", "overruns"),
                         ("resyncs", "kernel_resyncs"), ("flushes", "kernel_flushes")):
        same(f"kernel_{name}_total", lambda of: of["runtime"][number])
    same("kernel_buffer_bytes", lambda of: of["runtime"]["buffer_bytes"])
    same("uptime_seconds", lambda of: of["runtime"]["uptime_seconds"])
    same("messages_lost_total", lambda of: of["network"]["messages"]["lost"])
    for number, queue in enumerate(("txqueue", "errorq", "rsqueue")):
        assert before["queue"]["queues"][number]["name"] == queue
    same('queue_capacity_elements{queue="rsqueue"}', lambda of: of["queue"]["queues"][2]["maximum"])
    peer = '{peer="10.77.9.1"}'
    for name, number in (("messages_total", "messages_received"), ("messages_lost_total", "messages_lost"),
                         ("held_connections", "connections_held"), ("sums_compared_total", "sums_compared"),
                         ("repairs_total", "repairs")):
        same(f"peer_{name}{peer}", lambda of: of["peers"]["peers"][0][number])
    assert compared > 30
    assert found[f"ctsyncd_peer_held_connections{peer}"] == FLOWS
    assert metrics(watched.active)["ctsyncd_kernel_events_total"] >= FLOWS


def test_what_is_measured_is_counted(watched):
    """Of a pair that has sent and acknowledged flows, and a backup that has committed them."""
    active, backup = metrics(watched.active), metrics(watched.backup)
    assert backup["ctsyncd_commit_duration_seconds_count"] == 1 and 0 < backup["ctsyncd_commit_duration_seconds_sum"] < 5
    assert backup['ctsyncd_commit_entries_total{result="committed"}'] == FLOWS
    assert backup['ctsyncd_commit_entries_total{result="failed"}'] == 0
    assert backup['ctsyncd_role{role="primary"}'] == 1 and active['ctsyncd_role{role="unknown"}'] == 1
    assert active["ctsyncd_replication_delay_seconds_count"] > 0
    mean = active["ctsyncd_replication_delay_seconds_sum"] / active["ctsyncd_replication_delay_seconds_count"]
    assert 0 < mean < 0.5
    assert active["ctsyncd_loop_turn_seconds_count"] > FLOWS / 100
    assert active["ctsyncd_loop_turn_seconds_sum"] < active["ctsyncd_uptime_seconds"] + 1
    for side in ("server", "client"):
        assert active[f'ctsyncd_link_connected{{link="0",device="sync0",transport="tcp",side="{side}"}}'] == 1


def test_a_peer_that_acknowledges_nothing_lags(our_pair):
    pair = our_pair.configure().start().greeted()
    lag = 'ctsyncd_peer_lag_seconds{peer="10.77.9.2"}'
    with ctnl.Table(pair.active) as table:
        with pair.backup.stopped():
            table.create(ctnl.udp_flow(1))
            time.sleep(1.5)
            assert 1.3 < metrics(pair.active)[lag] < 4
        lab.wait_for(lambda: metrics(pair.active)[lag] == 0, 5, "the acknowledgement")


# --- Over HTTP ---

def test_pages(watched):
    node = watched.active
    status, kind, body = page(node)
    assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8") and body.endswith("# EOF\n")
    assert len(samples(prometheus_text(body))) > 150
    status, kind, body = page(node, Accept="application/openmetrics-text; version=1.0.0")
    assert (status, kind) == (200, "application/openmetrics-text; version=1.0.0; charset=utf-8")
    assert len(samples(openmetrics(body))) > 150
    assert page(node, "/")[0] == 404 and page(node, "/metrics/x")[0] == 404
    answer = unix_page(node, UNIX_PAGE.format("/metrics"))
    assert answer.startswith("HTTP/1.1 200 OK\r\n") and answer.endswith("# EOF\n")
    assert unix_page(node, "POST /metrics HTTP/1.1\r\nContent-Length: 2\r\n\r\nab").startswith("HTTP/1.1 405 ")
    for nonsense in ("\n", "x" * 5000, "GET /metrics\r\n\r\n", "\x16\x03\x01\n\n"):
        assert unix_page(node, nonsense).startswith("HTTP/1.1 400 "), nonsense


def test_clients_that_do_nothing_keep_nobody_out_for_long(watched):
    node = watched.active
    assert stat.S_IMODE(os.stat(f"{node.dir}/metrics").st_mode) == 0o660
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            silent = stack.enter_context(socket.socket(socket.AF_UNIX))
            silent.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                silent.connect(f"{node.dir}/metrics")
                silent.send(b"GET /metrics HTTP/1.1\r\n")
        began = time.monotonic()
        assert node.client("-s").returncode == 0
        assert time.monotonic() - began < 1, "the daemon waits for them"
    assert page(node)[0] == 200


def test_serves_nobody_else(node):
    sync = "\tMode FTFW {\n\t}\n" + lab.link_block("UDP", "10.77.9.1", "10.77.9.2")
    node.write_config("General {\n\tMetrics {\n\t\tIPv4_address 10.77.9.1\n\t\tPort 9199\n\t}\n"
                      f"\tUNIX {{\n\t\tPath {node.control_path}\n\t}}\n}}\nSync {{\n{sync}}}\n")
    complaint = f"{node.config_path}:3:16: "
    refused = node.run(node.binary, "-C", node.config_path, check=False, timeout=10)
    assert refused.returncode == 1
    assert complaint + "metrics are served to this machine alone: 10.77.9.1 is no loopback address" in refused.stderr
    checked = node.run(node.binary, "-C", node.config_path, "--check", check=False, timeout=10)
    assert checked.returncode == 2 and complaint + "error: metrics are served" in checked.stdout


def test_the_socket_goes_with_the_daemon_and_a_dead_one_is_replaced(node):
    node.configure("\tMode FTFW {\n\t}\n" + lab.link_block("UDP", "10.77.9.1", "10.77.9.2"), node.general(metrics_block(node)))
    node.start()
    node.kill(signal.SIGKILL)
    assert os.path.exists(f"{node.dir}/metrics")
    node.start()
    assert unix_page(node, UNIX_PAGE.format("/metrics")).startswith("HTTP/1.1 200 ")
    assert node.stop() == 0
    assert not os.path.exists(f"{node.dir}/metrics")


# --- Prometheus ---

@pytest.fixture(scope="module")
def prometheus(watched, tmp_path_factory):
    """One that scrapes the active node each second, beside it; with our alert rules. The node."""
    directory = tmp_path_factory.mktemp("prometheus")
    config = directory / "prometheus.yml"
    config.write_text(f"global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\n  evaluation_interval: 1s\nrule_files:\n- {RULES}\n"
                      f"scrape_configs:\n- job_name: ctsyncd\n  static_configs:\n  - targets: [127.0.0.1:{PORT}]\n")
    node = watched.active
    with open(directory / "log", "wb") as log:
        server = node.popen("prometheus", f"--config.file={config}", f"--storage.tsdb.path={directory}/data",
                            f"--web.listen-address=127.0.0.1:{PROMETHEUS}", stdout=log, stderr=log)
    try:
        lab.wait_for(lambda: server.poll() is not None or len(api(node, "query", query="ctsyncd_kernel_events_total[1m]")) > 0
                     and len(api(node, "query", query="ctsyncd_kernel_events_total[1m]")[0]["values"]) >= 3, 20,
                     lambda: f"three scrapes:\n{(directory / 'log').read_text()[-2000:]}", 0.3)
        assert server.poll() is None, (directory / "log").read_text()
        yield node
    finally:
        server.terminate()
        server.wait(timeout=20)


def api(node, what, **parameters):
    """The result of a question to the HTTP API of Prometheus; [] if it is not there yet."""
    with node.enter(), contextlib.suppress(ConnectionError, urllib.error.HTTPError, urllib.error.URLError):
        url = f"http://127.0.0.1:{PROMETHEUS}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            data = json.load(answer)["data"]
            return data["result"] if "result" in data else data
    return []


def test_prometheus_scrapes_it(prometheus):
    (target,) = api(prometheus, "targets")["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")
    (value,) = api(prometheus, "query", query='ctsyncd_cache_entries{cache="internal",object="connection"}')
    assert float(value["value"][1]) == FLOWS and value["metric"]["job"] == "ctsyncd"
    (events,) = api(prometheus, "query", query="ctsyncd_kernel_events_total")
    assert float(events["value"][1]) >= FLOWS
    # Only in OpenMetrics is this the name of the family, and has it a unit.
    (kind,) = api(prometheus, "metadata", metric="ctsyncd_link_sent_bytes")["ctsyncd_link_sent_bytes"]
    assert kind["type"] == "counter" and kind["unit"] == "bytes"
    (slow,) = api(prometheus, "query", query="histogram_quantile(0.99, ctsyncd_loop_turn_seconds_bucket)")
    assert 0 < float(slow["value"][1]) < 10


def test_the_dashboard_has_something_to_show(prometheus):
    """Each of its queries, with what Grafana puts into the variables."""
    empty = []
    for query in queries()[:-1]:
        asked = query.replace("$__rate_interval", "30s").replace("$instance", ".*")
        if not api(prometheus, "query", query=asked):
            empty.append(query)
    assert empty == []


def test_the_alerts_are_understood_and_quiet(prometheus):
    (group,) = api(prometheus, "rules")["groups"]
    assert len(group["rules"]) > 10
    assert [rule["name"] for rule in group["rules"] if rule["health"] == "err"] == []
    assert api(prometheus, "query", query='ALERTS{alertstate="firing"}') == []


# --- What is in conf/ ---

def test_every_name_that_is_asked_for_is_exported(watched):
    with open(RULES, encoding="utf-8") as file:
        rules = file.read()
    exported = {NAME.match(name)[0] for name in metrics(watched.backup)}
    asked = {name for query in (*queries(), *re.findall(r"expr: (.*)", rules)) for name in NAME.findall(query)}
    assert len(asked) > 20 and asked - exported == set()


def test_alert_rules():
    checked = lab.run(["promtool", "check", "rules", RULES], check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    tests = os.path.join(lab.ROOT, "tests/data/ctsyncd.rules.test.yml")
    done = lab.run(["promtool", "test", "rules", tests], check=False)
    assert done.returncode == 0 and "SUCCESS" in done.stdout, done.stdout + done.stderr
    with open(RULES, encoding="utf-8") as rules, open(tests, encoding="utf-8") as file:
        text = file.read()
        for alert in re.findall(r"- alert: (\w+)", rules.read()):
            assert len(re.findall(rf"\b{alert}\b", text)) == 2, f"{alert} is not tested: quiet once, firing once"


def test_example_for_prometheus(tmp_path):
    for name in ("prometheus.yml", "ctsyncd.rules.yml"):
        with open(os.path.join(lab.ROOT, "conf/prometheus", name), encoding="utf-8") as file:
            (tmp_path / name).write_text(file.read())
    checked = lab.run(["promtool", "check", "config", tmp_path / "prometheus.yml"], check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_picture_is_that_of_the_dashboard():
    drawn = subprocess.run([os.path.join(lab.ROOT, "conf/grafana/draw")], capture_output=True, text=True, timeout=10, check=True)
    with open(os.path.join(lab.ROOT, "doc/dashboard.svg"), encoding="utf-8") as file:
        assert drawn.stdout == file.read()


# --- Health ---

def health(node):
    """(status, the line)"""
    done = node.client("--health", check=False, timeout=10)
    assert (done.stdout + done.stderr).count("\n") == 1
    return done.returncode, (done.stdout + done.stderr).strip()


def test_a_backup_is_ready_when_it_knows_the_connections(our_pair):
    pair = our_pair.configure(mode_block="\tMode FTFW {\n\t}\n")
    pair.active.start()
    with ctnl.Table(pair.active) as table:
        for number in range(FLOWS):
            table.create(ctnl.udp_flow(number))
    pair.backup.start()
    # The kernel tells of the carrier of a new interface up to a second later.
    lab.wait_for(lambda: health(pair.backup) == (11, "not ready: the connections of the peers are not known yet"), 3,
                 "the backup to tell that it is not ready")
    assert metrics(pair.backup)["ctsyncd_health_status"] == 11
    lab.wait_for(lambda: health(pair.backup)[0] == 0, 10, "the backup to be ready", 0.2)
    assert pair.backup.external_count() == FLOWS
    assert health(pair.backup)[1] == "ready to take over"
    # A dead peer may look like this.
    pair.active.run("ip", "link", "set", "sync0", "down")
    lab.wait_for(lambda: "NO-CARRIER" in pair.backup.out("-s", "link"), 5, "the carrier to be lost")
    assert health(pair.backup)[0] == 0
    # This it cannot cause.
    pair.backup.run("ip", "link", "set", "sync0", "down")
    lab.wait_for(lambda: health(pair.backup) == (12, "not ready: all dedicated links are down"), 5, "the link to be down")
    assert metrics(pair.backup)["ctsyncd_health_status"] == 12
    pair.backup.client("-c")
    assert health(pair.backup)[0] == 0, "a primary stays one"


def test_a_node_that_is_alone_is_ready(node):
    """For it there is nothing to wait for."""
    node.start()
    began = time.monotonic()
    assert health(node)[0] == 11
    lab.wait_for(lambda: health(node)[0] == 0, 8, "the node to be ready", 0.2)
    assert time.monotonic() - began > 3


def test_a_daemon_that_does_not_answer(node):
    assert health(node)[0] == 10
    node.start()
    with node.stopped():
        began = time.monotonic()
        status, line = health(node)
        assert status == 10 and line.endswith("the daemon does not answer"), line
        assert time.monotonic() - began < 5
    node.stop()
    assert health(node)[0] == 10
    node.configure(stats=True)
    node.start()
    assert health(node) == (1, "there is nothing to take over: no `Sync' section")
