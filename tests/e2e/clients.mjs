// The official JavaScript client, unmodified: node clients.mjs URL MODEL EMBEDDER, a line of JSON a case.
// CAMA_JS: the folder whose node_modules has the package.
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

const [host, model, embedder] = process.argv.slice(2)
const require = createRequire(pathToFileURL(`${process.env.CAMA_JS}/`))
const { Ollama } = await import(pathToFileURL(require.resolve('ollama')))
const client = new Ollama({ host })
const options = { temperature: 0, seed: 1, num_predict: 12 }
const prompt = 'Why is the sky blue?'
const messages = [{ role: 'user', content: prompt }]
const say = (name, fields) => console.log(JSON.stringify({ name, ...fields }))
const names = async (of) => (await of()).models.map((m) => m.model)

const whole = await client.generate({ model, prompt, options })
say('generate', { response: whole.response, eval_count: whole.eval_count })

let text = ''
let done = false
for await (const part of await client.generate({ model, prompt, options, stream: true })) {
  text += part.response
  done = part.done
}
say('stream', { text, done })

say('chat', { content: (await client.chat({ model, messages, options })).message.content })
let content = ''
for await (const part of await client.chat({ model, messages, options, stream: true })) content += part.message.content
say('chat_stream', { content })

const vectors = (await client.embed({ model: embedder, input: ['a', 'b'] })).embeddings
say('embed', { n: vectors.length, width: vectors[0].length })
say('show', { family: (await client.show({ model })).details.family })
say('list', { names: await names(() => client.list()) })
say('ps', { names: await names(() => client.ps()) })

await client.copy({ source: model, destination: 'js-copy' })
say('copy', { there: (await names(() => client.list())).includes('js-copy:latest') })
await client.delete({ model: 'js-copy' })
say('delete', { there: (await names(() => client.list())).includes('js-copy:latest') })

let last = ''
for await (const part of await client.create({ model: 'js-made', from: model, system: 'Be brief.', stream: true })) last = part.status
say('create', { last })
await client.delete({ model: 'js-made' })

try {
  await client.generate({ model: 'nope', prompt })
} catch (e) {
  say('error', { status: e.status_code, text: e.error ?? e.message })
}

try {
  const parts = await client.generate({ model, prompt, options: { ...options, num_predict: 500 }, stream: true })
  for await (const _ of parts) client.abort()
  say('abort', { name_of_error: 'none' })
} catch (e) {
  say('abort', { name_of_error: e.name })
}

say('unload', { done_reason: (await client.generate({ model, prompt: '', keep_alive: 0 })).done_reason })
