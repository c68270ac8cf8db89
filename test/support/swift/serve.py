"""
Serves the S3 interface of an OpenStack Swift on loopback: a proxy, and account, container and object servers over three
devices, which are directories and hold each object once. Prints one line of JSON once it answers.

    serve.py <directory> [port]

Everything is kept in the directory, which is made; started again on it, the server goes on with what it holds, on the
port given. It ends with its standard input, which the caller holds open, or after half an hour; killed, it takes its
servers along. Started by root, it works as nobody.
"""
import ctypes
import json
import os
import pwd
import shutil
import signal
import socket
import sys

INSTALLED = '/usr/local/lib/backup-gateway-swift'
LIMIT_SECONDS = 30 * 60
DEVICES = 3
# The account, its administrator, a user whom the administrator may give rights on buckets, and the secret: known to
# everyone, which is why it listens on loopback alone.
ACCOUNT, USER, GUEST, SECRET = 'backups', 'worker', 'guest', 'not-a-secret'
sys.path.insert(0, INSTALLED)

directory = os.path.abspath(sys.argv[1])
port = int(sys.argv[2]) if len(sys.argv) > 2 else 0


def listen(wanted):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.bind(('127.0.0.1', wanted))
    sock.listen(256)
    return sock


def drop_root():
    os.makedirs(directory, exist_ok=True)
    if os.geteuid() != 0:
        return
    nobody = pwd.getpwnam('nobody')
    os.chown(directory, nobody.pw_uid, nobody.pw_gid)
    os.setgroups([])
    os.setgid(nobody.pw_gid)
    os.setuid(nobody.pw_uid)


def require_attributes():
    try:
        os.setxattr(directory, 'user.swift.probe', b'1')
    except OSError as error:
        sys.exit(f'{directory} is on a file system that keeps no user attributes, which Swift needs: {error}')


def make_rings(ports):
    from swift.common.ring import RingBuilder
    for kind in ('account', 'container', 'object'):
        builder = RingBuilder(4, 1, 0)
        for nth in range(DEVICES):
            os.makedirs(f'{directory}/devices/d{nth}', exist_ok=True)
            builder.add_dev({'region': 1, 'zone': nth + 1, 'ip': '127.0.0.1', 'port': ports[kind],
                             'replication_ip': '127.0.0.1', 'replication_port': ports[kind], 'device': f'd{nth}',
                             'weight': 1, 'meta': ''})
        builder.rebalance(seed='1')
        builder.get_ring().save(f'{directory}/{kind}.ring.gz')


PROXY = f'''
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck listing_formats s3api tempauth copy container-quotas slo proxy-server
[app:proxy-server]
use = egg:swift#proxy
allow_account_management = true
account_autocreate = true
# Two cores that also run the tests: nothing is given up as late before a client would.
node_timeout = 60
conn_timeout = 10
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:healthcheck]
use = egg:swift#healthcheck
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:s3api]
use = egg:swift#s3api
[filter:tempauth]
use = egg:swift#tempauth
user_{ACCOUNT}_{USER} = {SECRET} .admin
user_{ACCOUNT}_{GUEST} = {SECRET}
fernet_key_tests = {'A' * 43}=
active_fernet_key_id = tests
[filter:copy]
use = egg:swift#copy
[filter:container-quotas]
use = egg:swift#container_quotas
[filter:slo]
use = egg:swift#slo
# A deleted object's parts go with it: no server comes later to remove them.
allow_async_delete = false
'''

# What is written is listed at once: nothing puts a delayed entry into a listing later.
BACKEND = '''
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
container_update_timeout = 60
node_timeout = 60
conn_timeout = 10
disk_chunk_size = 262144
network_chunk_size = 262144
'''


def configure(ports):
    common = f'swift_dir = {directory}\nbind_ip = 127.0.0.1\nworkers = 0\nuser = nobody\nlog_level = CRITICAL\n'
    with open(f'{directory}/swift.conf', 'w') as file:
        file.write('[swift-hash]\nswift_hash_path_suffix = tests\n[storage-policy:0]\nname = only\ndefault = yes\n')
    for kind in ports:
        with open(f'{directory}/{kind}.conf', 'w') as file:
            file.write(f'[DEFAULT]\nbind_port = {ports[kind]}\n{common}')
            if kind == 'proxy':
                file.write(PROXY)
            else:
                file.write(f'devices = {directory}/devices\nmount_check = false\nfallocate_reserve = 0\ndisable_fallocate = true\n')
                file.write(BACKEND.format(kind=kind))


def serve(kind, sock, on_ready):
    """One of the four servers, in a process of its own that dies with the one that started it."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    from eventlet.greenio import GreenSocket
    from swift.common.wsgi import check_config, run_server
    conf, logger, global_conf, _ = check_config(f'{directory}/{kind}.conf', f'{kind}-server')
    run_server(conf, logger, GreenSocket(sock), global_conf=global_conf, ready_callback=on_ready)


def main():
    drop_root()
    require_attributes()
    socks = {kind: listen(port if kind == 'proxy' else 0) for kind in ('account', 'container', 'object', 'proxy')}
    ports = {kind: sock.getsockname()[1] for kind, sock in socks.items()}
    # What Swift keeps of a place is its device alone, so that ports may change from one start to the next.
    make_rings(ports)
    configure(ports)
    # Loaded once for all four.
    import swift.account.server, swift.container.server, swift.obj.server, swift.proxy.server  # noqa: E401,F401
    import swift.common.middleware.s3api.s3api, swift.common.middleware.slo, swift.common.middleware.tempauth  # noqa: E401,F401
    ready, tell = os.pipe()
    children = []
    for kind, sock in socks.items():
        child = os.fork()
        if child == 0:
            try:
                os.close(ready)
                os.close(0)
                os.open('/dev/null', os.O_RDONLY)
                for other, its in socks.items():
                    if other != kind:
                        its.close()
                serve(kind, sock, lambda: os.write(tell, b'.'))
            finally:
                os._exit(1)
        children.append(child)
    os.close(tell)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGALRM, lambda *_: os._exit(1))
    signal.alarm(LIMIT_SECONDS)
    count = 0
    while count < len(socks):
        more = os.read(ready, 4)
        if not more:
            sys.exit('a server of Swift did not start')
        count += len(more)
    print(json.dumps({'url': f"http://127.0.0.1:{ports['proxy']}", 'account': ACCOUNT, 'accessKey': f'{ACCOUNT}:{USER}', 'secretKey': SECRET}), flush=True)
    while os.read(0, 4096):
        pass
    # Whoever started it is gone, or would have ended it otherwise: nobody else tidies up.
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    shutil.rmtree(directory, ignore_errors=True)


main()
