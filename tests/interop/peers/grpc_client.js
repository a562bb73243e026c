// A grpc-js client that makes one call of each type through an HTTP CONNECT proxy.
//   node grpc_client.js PROXY_HOST:PORT CREDENTIALS TARGET_HOST:PORT
// Prints one JSON object: {"event": "done", "unary": …, "server_stream": …, …} or an error.
'use strict'
const grpc = require('@grpc/grpc-js')

const say = (said) => console.log(JSON.stringify(said))
const [proxy, credentials, target] = process.argv.slice(2)
const client = new grpc.Client(proxy, grpc.credentials.createInsecure(), {
  'grpc.http_connect_target': `dns:${target}`,
  'grpc.http_connect_creds': credentials
})
const asIs = (bytes) => bytes
const path = (method) => `/interop.Echo/${method}`
const options = () => ({ deadline: Date.now() + 15000 })
const promised = (start) => new Promise((resolve, reject) =>
  start((error, answer) => error ? reject(error) : resolve(String(answer))))
const collected = (call) => new Promise((resolve, reject) => {
  const parts = []
  call.on('data', (part) => parts.push(String(part)))
  call.on('end', () => resolve(parts))
  call.on('error', reject)
})

async function main () {
  const unary = await promised((done) =>
    client.makeUnaryRequest(path('Unary'), asIs, asIs, Buffer.from('one'), options(), done))
  const serverStream = await collected(
    client.makeServerStreamRequest(path('ServerStream'), asIs, asIs, Buffer.from('a b c'), options()))
  const clientStream = await promised((done) => {
    const call = client.makeClientStreamRequest(path('ClientStream'), asIs, asIs, options(), done)
    for (const part of ['x', 'y', 'z']) call.write(Buffer.from(part))
    call.end()
  })
  const duplex = client.makeBidiStreamRequest(path('Duplex'), asIs, asIs, options())
  for (const part of ['p', 'q']) duplex.write(Buffer.from(part))
  duplex.end()
  const both = await collected(duplex)
  say({ event: 'done', unary, server_stream: serverStream, client_stream: clientStream, duplex: both })
}

main().catch((error) => say({ event: 'error', message: String(error) })).finally(() => client.close())
