#!/usr/bin/env python3
"""The MySQL relay with MariaDB and mysql2: every answer is right, and the metrics of both sidecars agree with what was sent."""
import os

from harness import InteropTest, free_port, main, wait_for

SHARE = "/usr/share/mysql"
SYSTEM = ("mysql_system_tables.sql", "mysql_performance_tables.sql", "mysql_system_tables_data.sql")
SETTINGS = ("--innodb-log-file-size=16M", "--innodb-buffer-pool-size=32M", "--max-allowed-packet=64M", "--skip-name-resolve")


class Mysql(InteropTest):
    @classmethod
    def setUpClass(cls):
        if os.path.isdir("/usr/sbin"):  # not on everyone's PATH
            os.environ["PATH"] += os.pathsep + "/usr/sbin"

    def setUp(self):
        self.port = free_port()
        self.start_mariadb()
        self.client_side, self.server_side = self.pair("mysql", self.port)
        self.client = self.node("mysql_client.js", port=self.client_side.ports["in"])
        self.client.expect("ready")
        self.sent, self.errors = {}, {}

    def start_mariadb(self):
        """A server of its own in a new directory, as whoever runs the tests."""
        folder = self.directory()
        data = os.path.join(folder, "data")
        os.mkdir(data)
        certificate, key = os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")
        self.run_tool("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2", "-keyout", key,
                      "-out", certificate)
        sql = "create database mysql;\nuse mysql;\nset @auth_root_socket=NULL;\n"
        for name in SYSTEM:
            with open(os.path.join(SHARE, name), encoding="utf-8") as f:
                sql += f.read() + "\n"
        sql += ("flush privileges;\ncreate database test;\ncreate user app@'127.0.0.1' identified by 'secret';\n"
                "grant all on *.* to app@'127.0.0.1';\n")
        user = ["--user=root"] if os.geteuid() == 0 else []
        where = [f"--datadir={data}", *SETTINGS, *user]
        self.run_tool("mariadbd", "--no-defaults", "--bootstrap", "--skip-networking", *where, input=sql.encode())
        self.server = self.peer("mariadbd", "--no-defaults", *where, "--bind-address=127.0.0.1", f"--port={self.port}",
                           f"--socket={os.path.join(folder, 'socket')}", "--local-infile=1", f"--ssl-cert={certificate}",
                           f"--ssl-key={key}")
        wait_for("MariaDB serves", lambda: "ready for connections" in self.server.output())

    def ask(self, operation, **command):
        answer = self.client.ask(operation, **command)
        self.assertNotIn("error", answer)
        for total, more in ((self.sent, answer["sent"]), (self.errors, answer["errors"])):
            for name, times in more.items():
                total[name] = total.get(name, 0) + times

    def check_metrics(self, stopped=()):
        """What both sidecars counted is what was sent."""
        unanswered = ("quit", "stmt_close")
        for sidecar in (self.client_side, self.server_side):
            def value(name, **labels):
                return sidecar.metric(name, listener="in", cluster="out", **labels)  # pylint: disable=cell-var-from-loop
            wait_for("the last command", lambda v=value: v("dragoman_mysql_commands_total", command="quit") == self.sent.get("quit", 0))
            for command, times in self.sent.items():
                self.assertEqual(value("dragoman_mysql_commands_total", command=command), times, command)
                timed = value("dragoman_mysql_command_duration_seconds_count", command=command)
                self.assertEqual(timed, 0 if command in unanswered else times, command)
            self.assertEqual(value("dragoman_mysql_commands_total"), sum(self.sent.values()))
            for error, times in self.errors.items():
                self.assertEqual(value("dragoman_mysql_errors_total", error=error), times, error)
            self.assertEqual(value("dragoman_mysql_errors_total"), sum(self.errors.values()))
            for reason in stopped:
                self.assertEqual(value("dragoman_l4_observers_stopped_total", protocol="mysql", reason=reason), 1)
            self.assertEqual(value("dragoman_l4_observers_stopped_total", protocol="mysql"), len(stopped))

    def test_commands(self):
        self.ask("basics")
        self.ask("prepared", count=50)
        self.ask("transaction")
        self.ask("results", rows=50_000)
        self.ask("large", size=20_000_000)
        self.ask("upload", lines=20_000)
        self.ask("many", connections=50, count=20)
        self.ask("denied")
        self.check_metrics()

    def test_without_a_server(self):
        self.server.kill()
        self.ask("refused")

    def test_what_can_not_be_read_is_relayed(self):
        self.ask("prepared", count=3)
        sent, errors = dict(self.sent), dict(self.errors)
        self.ask("compressed")
        self.ask("encrypted")
        # Of a compressed connection the login is seen, of an encrypted one nothing.
        self.sent, self.errors = sent, errors
        self.sent["connect"] += 1
        self.check_metrics(stopped=("compression", "tls"))


if __name__ == "__main__":
    main()
