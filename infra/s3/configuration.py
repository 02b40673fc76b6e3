"""What a single Swift node on loopback reads: its configuration files and its rings."""

import os
import pwd
import subprocess
import sys
from pathlib import Path

HOST = "127.0.0.1"
# No secrets: who can reach the loopback address may use the server.
ACCESS_KEY, SECRET_KEY = "stego:local", "stego-local-secret"
SERVERS = ("proxy", "object", "container", "account")
"""They listen on PORT, PORT + 1, PORT + 2 and PORT + 3."""

# A busy machine answers late. With Swift's own limits (0.5 s to connect, 1 s for an update of a
# container) the update would be put off, and a new object would be missing in listings. There is
# no second node either: an error must not make the proxy avoid the only one.
DEFAULTS = """[DEFAULT]
swift_dir = {folder}/etc
devices = {folder}/data
recon_cache_path = {folder}/cache
mount_check = false
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
log_level = WARNING
conn_timeout = 30
node_timeout = 120
client_timeout = 300
container_update_timeout = 110
error_suppression_limit = 1000000000
"""
# No cache is in the pipeline: every request sees accounts and buckets as they are.
PROXY = """
[pipeline:main]
pipeline = s3api tempauth slo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:tempauth]
use = egg:swift#tempauth
user_stego_local = stego-local-secret .admin
[filter:s3api]
use = egg:swift#s3api
min_segment_size = 1
max_upload_part_num = 10000
[filter:slo]
use = egg:swift#slo
"""
# The updaters deliver what a server could not tell another one in time.
STORAGE = """
[pipeline:main]
pipeline = {name}-server
[app:{name}-server]
use = egg:swift#{name}
[object-updater]
interval = 5
[container-updater]
interval = 60
"""
# The salt of all paths on disk: with another one, old data are not found.
SWIFT = """[swift-hash]
swift_hash_path_prefix = local
swift_hash_path_suffix = stego
"""
RINGS = """
import sys
from swift.common.ring import RingBuilder
for name, port in zip(("object", "container", "account"), map(int, sys.argv[2:])):
    ring = RingBuilder(part_power=4, replicas=1, min_part_hours=1)
    ring.add_dev({"id": 0, "region": 1, "zone": 1, "weight": 1.0, "device": "d1",
                  "ip": "127.0.0.1", "port": port,
                  "replication_ip": "127.0.0.1", "replication_port": port})
    ring.rebalance()
    ring.get_ring().save(f"{sys.argv[1]}/{name}.ring.gz")
"""


def python(program: str, *arguments: object) -> list[str]:
    """The command line of a program; -P, as this file is called swift.py like the package."""
    return [sys.executable, "-P", "-c", program, *map(str, arguments)]


def write_configuration(folder: Path, port: int) -> None:
    """Write the configuration and the rings, which name the ports; data that are there stay."""
    etc = folder / "etc"
    for name in ("etc", "data/d1", "cache", "log"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (etc / "swift.conf").write_text(SWIFT)
    user = pwd.getpwuid(os.getuid()).pw_name
    for index, name in enumerate(SERVERS):
        defaults = DEFAULTS.format(folder=folder, port=port + index, user=user)
        page = PROXY if name == "proxy" else STORAGE.format(name=name)
        (etc / f"{name}.conf").write_text(defaults + page)
    subprocess.run(python(RINGS, etc, port + 1, port + 2, port + 3), check=True)
