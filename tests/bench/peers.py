"""The proxies that are measured: their configurations, how they are started, and the ports they listen on."""

import ctypes
import os
import random
import shutil
import signal
import socket
import subprocess
import time

PR_SET_PDEATHSIG = 1
PROTOCOLS = ('http', 'bolt', 'tcp', 'https', 'https_new', 'h2', 'grpc')
OVER_TLS = ('https', 'https_new')  # the second without resumption
OVER_H2 = ('h2', 'grpc')
PLAIN = ('http', 'bolt', 'tcp')
BYTES_H2 = 1024  # of an answer
GRPC_METHOD = 'bench.Echo/Call.grpc'  # nghttpd finds the content type by the ending
GRPC_MESSAGE = b'\0' + (100).to_bytes(4, 'big') + b'x' * 100


def free_ports(count):
    """Ports nobody listens on, below the range the kernel takes outgoing ports from."""
    with open('/proc/sys/net/ipv4/ip_local_port_range', encoding='ascii') as file:
        low = int(file.read().split()[0])
    candidates = list(range(10000, max(low, 12000)))
    random.shuffle(candidates)
    found = []
    for port in candidates:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(('127.0.0.1', port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError('no free ports')


def start(command, cpu, **kwargs):
    """Starts a program on one CPU (None: anywhere)."""

    def pin():
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)  # nothing outlives the run
        if cpu is not None:
            os.sched_setaffinity(0, {cpu})

    return subprocess.Popen(command, preexec_fn=pin, **kwargs)


def stop(process):
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def web_routes(name, cluster):
    """The routes of a listener for HTTP; what is measured goes to `cluster`."""
    return WEB_ROUTES.replace('NAME', name).replace('CLUSTER', cluster)


WEB_ROUTES = '''\
  - name: NAME
    virtual_hosts:
      - name: shop
        domains: [shop.example.com, "*.shop.example.com"]
        routes:
          - {{match: {{prefix: /}}, cluster: spare}}
      - name: default
        domains: ["*"]
        routes:
          - {{match: {{path: /healthz}}, direct_response: {{status: 200, body: ok}}}}
          - {{match: {{prefix: /admin, method: [POST, PUT]}}, cluster: spare}}
          - {{match: {{prefix: /bench, headers: [{{name: x-canary, exact: "1"}}]}}, cluster: spare}}
          - {{match: {{prefix: /bench}}, cluster: CLUSTER, timeout: 15s}}
          - {{match: {{prefix: /}}, cluster: spare}}
'''
DRAGOMAN = '''\
workers: 1
admin: {{address: 127.0.0.1:0}}
log: {{level: warn, path: {dir}/dragoman.log}}
drain: {{deadline: 1s, idle_grace: 0s, lame_duck: 0s}}
listeners:
  - {{name: web, address: "127.0.0.1:{http}", protocol: http1, routes: web, idle_timeout: 10m}}
  - {{name: web2, address: "127.0.0.1:{h2}", protocol: http2, routes: web2, idle_timeout: 10m}}
  - {{name: grpc, address: "127.0.0.1:{grpc}", protocol: http2, routes: grpc, idle_timeout: 10m}}
  - {{name: rpc, address: "127.0.0.1:{bolt}", protocol: bolt, routes: rpc, idle_timeout: 10m}}
  - {{name: raw, address: "127.0.0.1:{tcp}", protocol: tcp, cluster: tcp, idle_timeout: 10m}}
  - name: tls
    address: "127.0.0.1:{https}"
    protocol: http1
    routes: web
    idle_timeout: 10m
    tls: {{certificates: [{{chain: "{dir}/certificate.pem", key: "{dir}/key.pem"}}]}}
  - name: tls_new
    address: "127.0.0.1:{https_new}"
    protocol: http1
    routes: web
    idle_timeout: 10m
    tls: {{certificates: [{{chain: "{dir}/certificate.pem", key: "{dir}/key.pem"}}], ticket_lifetime: 0}}
routes:
''' + web_routes('web', 'http') + web_routes('web2', 'http2') + '''\
  - name: grpc
    routes:
      - {{match: {{service: "com.shop.*"}}, cluster: spare}}
      - {{match: {{service: bench.Echo, method: [Other]}}, cluster: spare}}
      - {{match: {{service: bench.Echo}}, cluster: grpc, timeout: 15s}}
      - {{match: {{}}, cluster: spare}}
  - name: rpc
    routes:
      - {{match: {{service: "com.shop.*"}}, cluster: spare_rpc}}
      - {{match: {{service: "com.bench.EchoService:1.0", method: reverse}}, cluster: spare_rpc}}
      - {{match: {{service: "com.bench.EchoService:1.0", method: echo}}, cluster: bolt, timeout: 15s}}
      - {{match: {{}}, cluster: spare_rpc}}
clusters:
  - {{name: http, endpoints: ["127.0.0.1:{backend[http]}"], {limits}}}
  - {{name: http2, protocol: http2, endpoints: ["127.0.0.1:{backend[h2]}"], {limits}}}
  - {{name: grpc, protocol: http2, endpoints: ["127.0.0.1:{backend[grpc]}"], {limits}}}
  - {{name: bolt, endpoints: ["127.0.0.1:{backend[bolt]}"], {limits}}}
  - {{name: tcp, endpoints: ["127.0.0.1:{backend[tcp]}"], {limits}}}
  - {{name: spare, protocol: http1, endpoints: ["127.0.0.1:1"]}}
  - {{name: spare_rpc, endpoints: ["127.0.0.1:1"]}}
'''
DRAGOMAN_LIMITS = 'limits: {connections: 20000, pending_requests: 20000, requests: 100000}'

HAPROXY = '''\
global
  nbthread 1
  maxconn 9900
  tune.ssl.cachesize 0
{bufsize}
defaults
  timeout connect 5s
  timeout client 600s
  timeout server 600s
listen http
  mode http
  bind 127.0.0.1:{http}
  option forwardfor
  http-reuse always
  server s 127.0.0.1:{backend[http]}
listen https
  mode http
  bind 127.0.0.1:{https} ssl crt {dir}/both.pem alpn http/1.1 ssl-min-ver TLSv1.2
  option forwardfor
  http-reuse always
  server s 127.0.0.1:{backend[http]}
listen https_new
  mode http
  bind 127.0.0.1:{https_new} ssl crt {dir}/both.pem alpn http/1.1 ssl-min-ver TLSv1.2 no-tls-tickets
  option forwardfor
  http-reuse always
  server s 127.0.0.1:{backend[http]}
listen h2
  mode http
  bind 127.0.0.1:{h2} proto h2
  option forwardfor
  http-reuse always
  server s 127.0.0.1:{backend[h2]} proto h2
listen grpc
  mode http
  bind 127.0.0.1:{grpc} proto h2
  option forwardfor
  http-reuse always
  server s 127.0.0.1:{backend[grpc]} proto h2
listen bolt
  mode tcp
  bind 127.0.0.1:{bolt}
  server s 127.0.0.1:{backend[bolt]}
listen tcp
  mode tcp
  bind 127.0.0.1:{tcp}
  server s 127.0.0.1:{backend[tcp]}
'''

NGINX_STREAM_MODULE = '/usr/lib/nginx/modules/ngx_stream_module.so'
NGINX = '''\
{module}
worker_processes 1; daemon off; master_process on; pid {dir}/nginx.pid; error_log {dir}/nginx.err warn;
events {{ worker_connections 19500; multi_accept on; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s;
  client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
  upstream http {{ server 127.0.0.1:{backend[http]}; keepalive 512; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{http} backlog=4096;
    location / {{
      proxy_pass http://http; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header X-Forwarded-For $remote_addr;
    }}
  }}
  server {{
    listen 127.0.0.1:{https} ssl backlog=4096;
    ssl_certificate {dir}/certificate.pem; ssl_certificate_key {dir}/key.pem; ssl_protocols TLSv1.2 TLSv1.3;
    client_max_body_size 1m;
    location / {{
      proxy_pass http://http; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header X-Forwarded-For $remote_addr;
    }}
  }}
  server {{
    listen 127.0.0.1:{https_new} ssl backlog=4096;
    ssl_certificate {dir}/certificate.pem; ssl_certificate_key {dir}/key.pem; ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_tickets off; ssl_session_cache off;
    location / {{
      proxy_pass http://http; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header X-Forwarded-For $remote_addr;
    }}
  }}
  upstream grpc {{ server 127.0.0.1:{backend[grpc]}; keepalive 512; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{grpc} http2 backlog=4096;
    location / {{ grpc_pass grpc://grpc; grpc_set_header X-Forwarded-For $remote_addr; }}
  }}
}}
stream {{
  upstream bolt {{ server 127.0.0.1:{backend[bolt]}; }}
  upstream tcp {{ server 127.0.0.1:{backend[tcp]}; }}
  tcp_nodelay on; proxy_timeout 600s; {buffer}
  server {{ listen 127.0.0.1:{bolt} backlog=4096; proxy_pass bolt; }}
  server {{ listen 127.0.0.1:{tcp} backlog=4096; proxy_pass tcp; }}
}}
'''


def make_certificate(directory):
    """certificate.pem and key.pem (P-256), and both.pem with the two, for HAProxy."""
    certificate, key, both = (os.path.join(directory, name) for name in ('certificate.pem', 'key.pem', 'both.pem'))
    subprocess.run(
        ['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days',
         '2', '-subj', '/CN=bench', '-addext', 'subjectAltName=DNS:bench', '-keyout', key, '-out', certificate],
        check=True, capture_output=True,
    )
    with open(both, 'w', encoding='ascii') as out:
        for path in (certificate, key):
            with open(path, encoding='ascii') as file:
                out.write(file.read())


class Peer:
    """One proxy. `ports` is {protocol: port}, `pid` the process to account to, once started."""

    note = ''
    protocols = PLAIN

    def __init__(self, name, directory, backend_ports, cpu):
        self.name, self.backend, self.cpu = name, backend_ports, cpu
        self.dir = os.path.join(directory, name)
        os.makedirs(self.dir, exist_ok=True)
        os.chmod(self.dir, 0o755)
        self.process = None
        self.ports = {}

    def missing(self):
        """Why it can't be run; None when it can."""
        raise NotImplementedError

    def command(self):
        """The command line, after writing the configuration for self.ports."""
        raise NotImplementedError

    def version(self):
        return ''

    def write(self, name, text):
        path = os.path.join(self.dir, name)
        with open(path, 'w', encoding='utf-8') as file:
            file.write(text)
        return path

    def fill(self, template, **values):
        return template.format(dir=self.dir, backend=self.backend, **self.ports, **values)

    @property
    def pid(self):
        return self.process.pid

    def pid_of(self, _protocol):
        """The process that serves a protocol."""
        return self.pid

    def start(self, prefix=(), ready_timeout_s=20):
        """Starts it on free ports. Returns the seconds from exec to its first HTTP answer (or connection)."""
        self.ports = dict(zip(PROTOCOLS, free_ports(len(PROTOCOLS))))
        command = [*prefix, *self.command()]
        with open(os.path.join(self.dir, 'output'), 'ab') as output:
            self.process = start(command, self.cpu, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        began = time.monotonic()
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() - began > ready_timeout_s:
                self.stop()
                raise RuntimeError(
                    '%s did not start (%s); its output:\n%s' % (self.name, ' '.join(command), self._output())
                )
            time.sleep(0.0002)
        return time.monotonic() - began

    def stop(self):
        if self.process is not None:
            stop(self.process)

    def _output(self):
        with open(os.path.join(self.dir, 'output'), encoding='utf-8', errors='replace') as file:
            return file.read()[-2000:]

    def _answers(self):
        protocol = self.protocols[0]
        try:
            with socket.create_connection(('127.0.0.1', self.ports[protocol]), timeout=1) as connection:
                if protocol != 'http':
                    return True
                connection.sendall(b'GET /bench HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n')
                return connection.recv(12).startswith(b'HTTP/1.1 200')
        except OSError:
            return False


class Dragoman(Peer):
    binary = None
    protocols = PROTOCOLS

    def missing(self):
        return None if os.access(self.binary, os.X_OK) else 'no executable %s' % self.binary

    def command(self):
        make_certificate(self.dir)
        return [
            self.binary,
            'run',
            '-c',
            self.write('dragoman.yaml', self.fill(DRAGOMAN, limits=DRAGOMAN_LIMITS)),
        ]

    def version(self):
        done = subprocess.run([self.binary, '--version'], capture_output=True, text=True, timeout=10)
        return done.stdout.strip()


class Before(Dragoman):
    """Another build of Dragoman, most often an older one (--beside)."""

    binary = None
    newer = (', lame_duck: 0s',)  # what its configuration may not know yet, and does not need

    def fill(self, template, **values):
        text = super().fill(template, **values)
        file = self.write('before.yaml', text)
        if subprocess.run([self.binary, 'validate', '-c', file], capture_output=True, timeout=60).returncode != 0:
            for key in self.newer:
                text = text.replace(key, '')
        return text


class Haproxy(Peer):
    bufsize = ''
    protocols = PROTOCOLS

    def missing(self):
        return None if shutil.which('haproxy') else 'haproxy is not installed'

    def command(self):
        make_certificate(self.dir)
        return ['haproxy', '-db', '-f', self.write('haproxy.cfg', self.fill(HAPROXY, bufsize=self.bufsize))]

    def version(self):
        return (
            subprocess.run(['haproxy', '-v'], capture_output=True, text=True).stdout.split(' - ')[0].strip()
        )


class Haproxy64k(Haproxy):
    bufsize = '  tune.bufsize 65536'
    protocols = ('tcp', 'bolt')
    note = 'HAProxy with 64 KB buffers'


class Nginx(Peer):
    buffer = ''
    protocols = ('http', 'bolt', 'tcp', 'https', 'https_new', 'grpc')  # it speaks no HTTP/2 to servers, except for gRPC

    def missing(self):
        if shutil.which('nginx') is None:
            return 'nginx is not installed'
        return None if os.path.exists(NGINX_STREAM_MODULE) else 'no stream module at ' + NGINX_STREAM_MODULE

    def command(self):
        make_certificate(self.dir)
        module = 'load_module %s;' % NGINX_STREAM_MODULE
        config = self.write('nginx.conf', self.fill(NGINX, module=module, buffer=self.buffer))
        return ['nginx', '-p', self.dir, '-c', config]

    def version(self):
        return subprocess.run(['nginx', '-v'], capture_output=True, text=True).stderr.split(': ')[-1].strip()


class Nginx64k(Nginx):
    buffer = 'proxy_buffer_size 64k;'
    protocols = ('tcp', 'bolt')
    note = 'nginx with 64 KB buffers'


class Nghttpx(Peer):
    protocols = ('http', 'h2', 'grpc')

    def missing(self):
        return None if shutil.which('nghttpx') else 'nghttpx is not installed'

    def command(self):
        return [
            'nghttpx',
            '--conf=/dev/null',
            '--workers=1',
            '--no-ocsp',
            '--add-x-forwarded-for',
            '--frontend=127.0.0.1,%d;no-tls' % self.ports['http'],
            '--frontend=127.0.0.1,%d;no-tls' % self.ports['h2'],
            '--frontend=127.0.0.1,%d;no-tls' % self.ports['grpc'],
            # One configuration has one set of backends for a host: the names of the two loads tell them apart.
            '--backend=127.0.0.1,%d;;' % self.backend['http'],
            '--backend=127.0.0.1,%d;/bench2;proto=h2' % self.backend['h2'],
            '--backend=127.0.0.1,%d;/%s/;proto=h2' % (self.backend['grpc'], GRPC_METHOD.split('/')[0]),
            '--frontend-keep-alive-timeout=10m',
            '--frontend-read-timeout=10m',
            '--accesslog-file=/dev/null',
            '--errorlog-file=%s/error.log' % self.dir,
            '--pid-file=%s/pid' % self.dir,
        ]

    def version(self):
        return subprocess.run(['nghttpx', '--version'], capture_output=True, text=True).stdout.strip()


class Direct(Peer):
    """No proxy at all: the load talks to the backend, and the backend's CPU time is what is shown."""

    note = 'no proxy; the backend\'s own CPU'

    def __init__(self, name, backend):
        self.name, self.process, self.h2 = name, backend.process, backend.h2
        # Without TLS: only to see that the machine is steady.
        self.ports = {**backend.ports, **dict.fromkeys(OVER_TLS, backend.ports['http'])}

    def pid_of(self, protocol):
        return self.h2.get(protocol, self.process).pid

    def missing(self):
        return None


class Backend:
    """bench_backend, and nghttpd for what goes over HTTP/2 (`h2`: by protocol; empty when it is not installed)."""

    def __init__(self, binary, cpu, directory):
        self.h2, h2_ports = {}, {}
        if shutil.which('nghttpd') and shutil.which('h2load'):
            h2_ports = dict(zip(OVER_H2, free_ports(len(OVER_H2))))
            files = {'bench': b'x' * BYTES_H2, 'bench2': b'x' * BYTES_H2, GRPC_METHOD: GRPC_MESSAGE,
                     'types': b'application/grpc grpc\n'}
            for name, content in files.items():
                path = os.path.join(directory, name)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, 'wb') as file:
                    file.write(content)
            grpc = ['--trailer=grpc-status: 0', '--mime-types-file=' + os.path.join(directory, 'types')]
            for protocol, more in (('h2', []), ('grpc', grpc)):
                command = ['nghttpd', '--no-tls', '-a', '127.0.0.1', '-d', directory, *more, str(h2_ports[protocol])]
                self.h2[protocol] = start(command, cpu, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.process = start(
            [binary, '--http', '0', '--bolt', '0', '--tcp', '0'], cpu, stdout=subprocess.PIPE, text=True
        )
        self.ports = {}
        for line in self.process.stdout:
            words = line.split()
            if words == ['ready']:
                self.ports.update(h2_ports)
                return
            self.ports[words[1]] = int(words[2].rsplit(':', 1)[1])
        raise RuntimeError('bench_backend did not start')


# In the order they take their turns.
KINDS = {
    'dragoman': Dragoman,
    'haproxy': Haproxy,
    'nginx': Nginx,
    'nghttpx': Nghttpx,
    'haproxy64k': Haproxy64k,
    'nginx64k': Nginx64k,
}
