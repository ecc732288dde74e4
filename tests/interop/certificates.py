"""Certificates for tests, made by the openssl command."""
import os


class Certificates:
    """A CA and what it issues, as files, by the openssl command."""

    def __init__(self, test, folder):
        self.test, self.folder = test, folder
        self.key("ca")
        self.openssl("req", "-x509", "-new", "-key", self.path("ca.key"), "-subj", "/CN=test CA", "-days", "2", "-out",
                     self.path("ca.pem"))

    def openssl(self, *args):
        self.test.run_tool("openssl", *args)

    def path(self, name):
        return os.path.join(self.folder, name)

    def key(self, name):
        self.openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", self.path(name + ".key"))

    def issue(self, name, names, common_name=None):
        """NAME.pem and NAME.key, each replaced by rename."""
        self.key(name + "-next")
        request, next_pem = self.path("next.csr"), self.path(name + "-next.pem")
        self.openssl("req", "-new", "-key", self.path(name + "-next.key"), "-subj", f"/CN={common_name or name}", "-addext",
                     f"subjectAltName={names}", "-out", request)
        self.openssl("x509", "-req", "-in", request, "-CA", self.path("ca.pem"), "-CAkey", self.path("ca.key"),
                     "-CAcreateserial", "-days", "1", "-copy_extensions", "copy", "-out", next_pem)
        os.replace(self.path(name + "-next.key"), self.path(name + ".key"))
        os.replace(next_pem, self.path(name + ".pem"))

    def pair(self, name):
        return f"{{chain: {self.path(name + '.pem')}, key: {self.path(name + '.key')}}}"

    def mutual(self):
        """Keys of the tls blocks of a cluster and of the listener it leads to, that know each other by name."""
        self.issue("server", "URI:spiffe://mesh/server")
        self.issue("client", "URI:spiffe://mesh/client")
        ca = self.path("ca.pem")
        cluster = f"tls: {{ca: {ca}, certificate: {self.pair('client')}, peer_names: ['spiffe://mesh/server']}}"
        listener = (f"tls: {{certificates: [{self.pair('server')}], client_certificate: require, ca: {ca}, "
                    f"peer_names: ['spiffe://mesh/client']}}")
        return cluster, listener
