// Judges our UR codec with @ngraveio/bc-ur: one JSON command on standard input, one JSON answer on standard output.
//   {"op": "encode", "content": hex, "maxFragment": n, "first": number, "count": k} -> {"parts": [...], "total": N}
//   {"op": "single", "content": hex} -> {"part": "ur:bytes/..."}
//   {"op": "decode", "parts": [...]} -> {"content": hex | null, "progress": 0..1}
import bcur from "@ngraveio/bc-ur";
import { readFileSync } from "node:fs";

const { UR, UREncoder, URDecoder } = bcur;
const command = JSON.parse(readFileSync(0, "utf8"));

function answer() {
  switch (command.op) {
    case "single":
      return { part: UREncoder.encodeSinglePart(UR.fromBuffer(Buffer.from(command.content, "hex"))) };
    case "encode": {
      const ur = UR.fromBuffer(Buffer.from(command.content, "hex"));
      const encoder = new UREncoder(ur, command.maxFragment, command.first);
      const parts = Array.from({ length: command.count }, () => encoder.nextPart());
      return { parts, total: encoder.fragmentsLength };
    }
    case "decode": {
      const decoder = new URDecoder();
      for (const part of command.parts) {
        decoder.receivePart(part);
        if (decoder.isComplete()) break;
      }
      if (!decoder.isComplete()) return { content: null, progress: decoder.getProgress() };
      if (!decoder.isSuccess()) throw new Error(decoder.resultError());
      return { content: decoder.resultUR().decodeCBOR().toString("hex"), progress: 1 };
    }
    default:
      throw new Error(`unknown command ${command.op}`);
  }
}

process.stdout.write(JSON.stringify(answer()));
