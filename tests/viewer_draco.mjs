// Decodes Draco files with the viewer's own WebAssembly module.
//
//   node viewer_draco.mjs CLIENT_FOLDER BITS FILE...
//
// BITS = 0: whole; else partitioned into octants for that vertex quantization. Prints one JSON object a line and file:
// {error} or {positions, indices, subchunks}.
import fs from "node:fs";
import path from "node:path";

const [folder, bitsText, ...files] = process.argv.slice(2);
const bits = Number(bitsText);
const module = fs
  .readdirSync(folder)
  .filter((name) => name.endsWith(".wasm"))
  .map((name) => new WebAssembly.Module(fs.readFileSync(path.join(folder, name))))
  .find((candidate) => WebAssembly.Module.exports(candidate).some(({ name }) => name === "neuroglancer_draco_decode"));
if (module === undefined) {
  console.error(`no Draco decoder in ${folder}`);
  process.exit(3);
}

for (const file of files) {
  let received;
  const copy = (pointer, count) => Array.from(new Uint32Array(instance.exports.memory.buffer, pointer, count));
  const instance = new WebAssembly.Instance(module, {
    env: {
      emscripten_notify_memory_growth: () => {},
      neuroglancer_draco_receive_decoded_mesh: (faces, vertices, indices, positions, subchunks) => {
        received = {
          positions: copy(positions, 3 * vertices),
          indices: copy(indices, 3 * faces),
          subchunks: copy(subchunks, bits === 0 ? 2 : 9),
        };
      },
    },
    wasi_snapshot_preview1: {
      proc_exit: (code) => {
        throw new Error(`exit ${code}`);
      },
    },
  });
  instance.exports._initialize();
  const data = fs.readFileSync(file);
  const pointer = instance.exports.malloc(data.length);
  new Uint8Array(instance.exports.memory.buffer).set(data, pointer);
  const code = instance.exports.neuroglancer_draco_decode(pointer, data.length, bits !== 0, bits, true);
  console.log(JSON.stringify(code === 0 ? received : { error: code }));
}
