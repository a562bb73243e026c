// One uTP connection of libutp (utp-native), for the tests beside this directory.
//   node libutp.js listen BYTES            accept one connection
//   node libutp.js dial HOST PORT BYTES [LOCAL_PORT]    make one
//   node libutp.js hold HOST PORT LOCAL_PORT            make one, say "hello" on it, and stay
// Sends BYTES random bytes and its FIN while it reads to the other side's FIN. Prints one JSON
// object a line: {"event": "listening", "port": …}, then {"event": "done", …} or an error.
'use strict'
const crypto = require('crypto')
const utp = require('utp-native')

const say = (said) => console.log(JSON.stringify(said))
const fail = (error) => { say({ event: 'error', message: String(error) }); process.exit(1) }
const CHUNK = 65536

function exchange (connection, size) {
  const sent = crypto.createHash('sha256')
  const received = crypto.createHash('sha256')
  let left = size
  let arrived = 0

  function send () {
    while (left > 0) {
      const chunk = crypto.randomBytes(Math.min(CHUNK, left))
      left -= chunk.length
      sent.update(chunk)
      if (!connection.write(chunk)) { connection.once('drain', send); return }
    }
    connection.end()
  }

  connection.on('connect', send) // a listener's comes with the first bytes that it reads
  connection.on('data', (data) => { arrived += data.length; received.update(data) })
  connection.on('error', fail)
  connection.on('close', () => {
    say({ event: 'done', received: arrived, received_sha256: received.digest('hex'), sent_sha256: sent.digest('hex') })
    process.exit(0)
  })
}

const [verb, ...rest] = process.argv.slice(2)
if (verb === 'listen') {
  const server = utp.createServer((connection) => exchange(connection, Number(rest[0])))
  server.on('error', fail)
  server.listen(0, '127.0.0.1', () => say({ event: 'listening', port: server.address().port }))
} else {
  const [host, port] = rest
  const dial = (localPort) => {
    const socket = utp()
    if (localPort) socket.bind(Number(localPort))
    return socket.connect(Number(port), host)
  }
  if (verb === 'dial') {
    exchange(dial(rest[3]), Number(rest[2]))
  } else {
    const connection = dial(rest[2])
    connection.on('error', fail)
    connection.write('hello')
    connection.on('connect', () => say({ event: 'connected' }))
  }
}
