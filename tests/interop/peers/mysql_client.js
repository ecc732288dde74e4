// MySQL clients (mysql2) that check every answer. Configuration: port. Takes commands as the other clients do; each answers with
// `sent`, how many commands of each kind went to the server, and `errors`, by the server's name:
//   basics, prepared (`count`), transaction, results (`rows`), large (`size` bytes), upload (`lines`), many (`connections`, `count`)
//   denied, refused, compressed, encrypted: connections of that kind
'use strict';
const assert = require('node:assert');
const crypto = require('node:crypto');
const readline = require('node:readline');
const { Readable } = require('node:stream');
const mysql = require('mysql2/promise');

const { port } = JSON.parse(process.argv[2]);
const say = object => console.log(JSON.stringify(object));

let sent, errors;
const count = (table, name, n = 1) => { table[name] = (table[name] || 0) + n; };

/// A connection whose calls are counted.
async function connect(options = {}) {
  count(sent, 'connect');
  const connection = await mysql.createConnection({
    host: '127.0.0.1', port, user: 'app', password: 'secret', database: 'test', multipleStatements: true, ...options,
  });
  // The library decides how often it closes a statement.
  const add = connection.connection.addCommand;
  connection.connection.addCommand = function (command) {
    if (command.constructor.name === 'CloseStatement') count(sent, 'stmt_close');
    return add.call(this, command);
  };
  const prepared = new Set();
  return {
    async query(...args) { count(sent, 'query'); return (await connection.query(...args))[0]; },
    async execute(sql, values) {
      if (!prepared.has(sql)) count(sent, 'stmt_prepare');
      prepared.add(sql);
      count(sent, 'stmt_execute');
      return (await connection.execute(sql, values))[0];
    },
    async ping() { count(sent, 'ping'); await connection.ping(); },
    async changeUser(to) { count(sent, 'change_user'); await connection.changeUser(to); },
    async fails(code, call) {
      count(errors, code.slice(3).toLowerCase());
      await assert.rejects(call, error => { assert.equal(error.code, code); return true; });
    },
    unprepare(sql) { connection.unprepare(sql); },
    async end() { count(sent, 'quit'); await connection.end(); },
  };
}

const operations = {
  async basics() {
    const c = await connect();
    await c.query('CREATE TABLE basics (id INT PRIMARY KEY, name VARCHAR(40), note TEXT NULL)');
    const inserted = await c.query('INSERT INTO basics VALUES (?, ?, NULL), (?, ?, ?)', [1, 'ä', 2, 'b', 'note']);
    assert.equal(inserted.affectedRows, 2);
    assert.deepEqual(await c.query('SELECT * FROM basics ORDER BY id'),
                     [{ id: 1, name: 'ä', note: null }, { id: 2, name: 'b', note: 'note' }]);
    assert.deepEqual(await c.query('SELECT * FROM basics WHERE id = 9'), []);
    await c.fails('ER_DUP_ENTRY', () => c.query("INSERT INTO basics VALUES (1, 'x', NULL)"));
    await c.fails('ER_NO_SUCH_TABLE', () => c.query('SELECT * FROM none'));
    await c.fails('ER_PARSE_ERROR', () => c.query('SELEC 1'));
    const several = await c.query('SELECT 1 AS a; UPDATE basics SET note = 1; SELECT 2 AS b');
    assert.deepEqual([several[0], several[1].affectedRows, several[2]], [[{ a: 1 }], 2, [{ b: 2 }]]);
    await c.query('CREATE PROCEDURE twice() BEGIN SELECT 1 AS x; SELECT 2 AS y; END');
    const called = await c.query('CALL twice()');
    assert.deepEqual([called[0], called[1]], [[{ x: 1 }], [{ y: 2 }]]);
    await c.fails('ER_NO_SUCH_TABLE', () => c.query('SELECT 1; SELECT * FROM none; SELECT 3'));
    await c.ping();
    await c.changeUser({ user: 'app', password: 'secret', database: 'test' });
    assert.deepEqual(await c.query('SELECT DATABASE() AS d'), [{ d: 'test' }]);
    await c.end();
  },

  async prepared({ count: times }) {
    const c = await connect();
    await c.query('CREATE TABLE prepared (id INT PRIMARY KEY, value DOUBLE, at DATETIME, bytes BLOB)');
    const at = new Date('2024-02-29T12:34:56Z');
    for (let i = 0; i < times; i++)
      await c.execute('INSERT INTO prepared VALUES (?, ?, ?, ?)', [i, i / 3, at, Buffer.from([i, 0, 255])]);
    for (let i = 0; i < times; i++) {
      const rows = await c.execute('SELECT * FROM prepared WHERE id = ?', [i]);
      assert.deepEqual(rows, [{ id: i, value: i / 3, at, bytes: Buffer.from([i, 0, 255]) }]);
    }
    await c.fails('ER_DUP_ENTRY', () => c.execute('INSERT INTO prepared VALUES (?, ?, ?, ?)', [1, 1, at, null]));
    c.unprepare('SELECT * FROM prepared WHERE id = ?');
    await c.ping();
    await c.end();
  },

  async transaction() {
    const [a, b] = [await connect(), await connect()];
    await a.query('CREATE TABLE account (id INT PRIMARY KEY, money INT) ENGINE=InnoDB');
    await a.query('INSERT INTO account VALUES (1, 100), (2, 0)');
    await a.query('START TRANSACTION');
    await a.query('UPDATE account SET money = money - 30 WHERE id = 1');
    assert.deepEqual(await b.query('SELECT money FROM account WHERE id = 1'), [{ money: 100 }]);
    await b.query('SET innodb_lock_wait_timeout = 1');
    await b.fails('ER_LOCK_WAIT_TIMEOUT', () => b.query('UPDATE account SET money = 0 WHERE id = 1'));
    await a.query('UPDATE account SET money = money + 30 WHERE id = 2');
    await a.query('COMMIT');
    await b.query('START TRANSACTION');
    await b.query('DELETE FROM account');
    await b.query('ROLLBACK');
    assert.deepEqual(await b.query('SELECT money FROM account ORDER BY id'), [{ money: 70 }, { money: 30 }]);
    await a.end();
    await b.end();
  },

  async results({ rows }) {
    const c = await connect();
    const all = await c.query(`SELECT seq, REPEAT('x', seq % 50) AS text, NULL AS nothing FROM seq_1_to_${rows}`);
    assert.equal(all.length, rows);
    all.forEach((row, i) => assert.deepEqual(row, { seq: i + 1, text: 'x'.repeat((i + 1) % 50), nothing: null }));
    const again = await c.execute(`SELECT seq FROM seq_1_to_${rows}`, []);
    assert.equal(again.at(-1).seq, rows);
    await c.end();
  },

  async large({ size }) {
    const c = await connect();
    const bytes = crypto.randomBytes(size);
    await c.query('CREATE TABLE large (bytes LONGBLOB)');
    await c.execute('INSERT INTO large VALUES (?)', [bytes]);
    assert.equal(Buffer.compare((await c.query('SELECT bytes FROM large'))[0].bytes, bytes), 0);
    await c.end();
  },

  async upload({ lines }) {
    const c = await connect();
    await c.query('CREATE TABLE upload (n INT)');
    function* numbers() { for (let i = 0; i < lines; i++) yield Buffer.from(`${i}\n`); }
    const done = await c.query({ sql: "LOAD DATA LOCAL INFILE 'numbers' INTO TABLE upload",
                                 infileStreamFactory: () => Readable.from(numbers()) });
    assert.equal(done.affectedRows, lines);
    assert.deepEqual(await c.query('SELECT COUNT(*) AS n FROM upload'), [{ n: lines }]);
    await c.end();
  },

  async many({ connections, count: times }) {
    await Promise.all(Array.from({ length: connections }, async (_, i) => {
      const c = await connect();
      for (let n = 0; n < times; n++) assert.deepEqual(await c.query('SELECT ? AS a, ? AS b', [i, n]), [{ a: i, b: n }]);
      await c.end();
    }));
  },

  async denied() {
    count(errors, 'access_denied_error');
    await assert.rejects(connect({ password: 'wrong' }), error => error.code === 'ER_ACCESS_DENIED_ERROR');
  },

  async refused() {
    count(errors, 'con_count_error');
    await assert.rejects(connect(), error => {
      assert.equal(error.code, 'ER_CON_COUNT_ERROR');
      assert.match(error.message, /mesh: no healthy upstream/);
      return true;
    });
  },

  async compressed() {
    const c = await connect({ compress: true });
    assert.deepEqual(await c.query("SELECT REPEAT('y', 100000) AS a"), [{ a: 'y'.repeat(100000) }]);
    await c.end();
  },

  async encrypted() {
    const c = await connect({ ssl: { rejectUnauthorized: false } });
    assert.notEqual((await c.query("SHOW STATUS LIKE 'Ssl_cipher'"))[0].Value, '');
    await c.end();
  },
};

readline.createInterface({ input: process.stdin }).on('line', async line => {
  const command = JSON.parse(line);
  [sent, errors] = [{}, {}];
  try {
    await operations[command.operation](command);
    say({ answer: command.id, sent, errors });
  } catch (error) {
    say({ answer: command.id, error: error.stack });
  }
});
say({ ready: true });
