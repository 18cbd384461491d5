"""Transfers between accounts in SQLite, each with a line in the ledger in the same transaction. Instance: moves."""
import errno
import os
import sqlite3

from record import Program

ACCOUNTS = 20
SCHEMA = ["CREATE TABLE IF NOT EXISTS account (number INTEGER PRIMARY KEY, balance INTEGER)",
          "CREATE TABLE IF NOT EXISTS ledger (place INTEGER PRIMARY KEY AUTOINCREMENT, process TEXT, seq INTEGER, source INTEGER, "
          "target INTEGER, amount INTEGER)"]


class Bank:
    def __init__(self):
        self.program = Program()
        self.path = self.program.setting["path"]
        self.journal = self.program.setting["journal"]
        self.seq = 0
        self.fd = None
        self.base = None

    def guarded(self, action):
        """SQLite does not tell errnos: its handle is asked for one."""
        try:
            return action()
        except sqlite3.Error as error:
            os.fsync(self.fd)
            raise OSError(errno.EIO, f"{error.sqlite_errorname}: {error}") from error

    def do(self, op, action, **told):
        return self.program.history.do(op, lambda: self.guarded(action), tell=lambda value: value, **told)

    def begin(self):
        self.fd = self.program.history.do("grant", os.open, self.path, os.O_RDWR | os.O_CREAT, 0o666)
        self.do("connect", self.connect)
        self.do("look", self.look)

    def connect(self):
        self.base = sqlite3.connect(self.path, timeout=60, isolation_level=None)
        mode = self.base.execute(f"PRAGMA journal_mode={self.journal}").fetchone()[0]
        self.base.execute("PRAGMA synchronous=FULL")
        self.base.execute("BEGIN IMMEDIATE")
        for line in SCHEMA:
            self.base.execute(line)
        if not self.base.execute("SELECT count(*) FROM account").fetchone()[0]:
            self.base.executemany("INSERT INTO account VALUES (?, 1000)", [(number,) for number in range(ACCOUNTS)])
        self.base.execute("COMMIT")
        return mode

    def look(self):
        """[what the integrity check says, the sum of all accounts, lines in the ledger]"""
        check = self.base.execute("PRAGMA quick_check").fetchone()[0]
        total = self.base.execute("SELECT sum(balance), count(*) FROM account").fetchone()[0]
        return [check, total, self.base.execute("SELECT count(*) FROM ledger").fetchone()[0]]

    def transfer(self, end):
        source, target = self.program.dice.sample(range(ACCOUNTS), 2)
        amount = self.program.dice.randrange(1, 50)
        self.base.execute("BEGIN IMMEDIATE")
        self.base.execute("UPDATE account SET balance = balance - ? WHERE number = ?", (amount, source))
        self.base.execute("UPDATE account SET balance = balance + ? WHERE number = ?", (amount, target))
        self.base.execute("INSERT INTO ledger (process, seq, source, target, amount) VALUES (?, ?, ?, ?, ?)",
                          (self.program.process, self.seq, source, target, amount))
        self.base.execute(end)

    def work(self):
        self.seq += 1
        kind = self.program.dice.random()
        if kind < 0.1:
            self.do("rollback", lambda: self.transfer("ROLLBACK"), seq=self.seq)
        elif kind < 0.13:
            self.do("look", self.look)
        else:
            self.do("transfer", lambda: self.transfer("COMMIT"), seq=self.seq)


bank = Bank()
bank.program.run(bank.work, bank.begin)
