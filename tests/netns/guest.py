# SPDX-License-Identifier: GPL-2.0-or-later
"""More daemons in the namespace of a node, each with its own configuration and files: all of them see the same events."""
import shutil
import tempfile

import lab


class Guest(lab.Node):
    """A daemon beside others in the namespace of `host`; ends with it."""

    def __init__(self, host, binary=lab.OURS):  # no namespace of its own, hence no super().__init__()
        self.host, self.name, self.fd, self.children = host, host.name, host.fd, host.children
        self.role = f"{host.role}-guest"
        self.binary, self.stock = binary, lab.is_stock(binary)
        self.dir = tempfile.mkdtemp(prefix="cts")
        self.config_path, self.log_path = f"{self.dir}/c.conf", f"{self.dir}/d.log"
        self.lock_path, self.control_path = f"{self.dir}/d.lock", f"{self.dir}/d.ctl"
        self.stats_log_path = f"{self.dir}/stats.log"
        self.daemon = None

    def close(self):
        if self.alive():
            self.kill()
        shutil.rmtree(self.dir, ignore_errors=True)


def start_all(nodes):
    """Starts them at once; waits until each answers."""
    for node in nodes:
        node.start(wait=False)
    for node in nodes:
        lab.wait_for(lambda node=node: node.daemon.poll() is not None or node.client("-s", check=False).returncode == 0,
                     20, "a daemon to answer", 0.05)
        assert node.alive(), f"a daemon ended at start:\n{node.console()}"
