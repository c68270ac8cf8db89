/**
 * Text messages of a WebSocket, from a server: of what thousands are sent, most is the same, and one write for each is all
 * that is left to do. https://www.rfc-editor.org/rfc/rfc6455#section-5.2
 */
import type { Duplex } from 'node:stream';

/** Final frame, opcode 1. */
const TEXT = 0x81;

/** A message, UTF-8, from the parts that follow each other in it, as one piece of memory. */
export function textFrame(head: Buffer, body: Buffer, tail: Buffer): Buffer {
  const length = head.length + body.length + tail.length;
  const start = length < 126 ? 2 : length < 65_536 ? 4 : 10;
  const frame = Buffer.allocUnsafe(start + length);
  frame[0] = TEXT;
  if (start === 2) {
    frame[1] = length;
  } else if (start === 4) {
    frame[1] = 126;
    frame.writeUInt16BE(length, 2);
  } else {
    frame[1] = 127;
    frame.writeUIntBE(0, 2, 2);
    frame.writeUIntBE(length, 4, 6);
  }
  head.copy(frame, start);
  body.copy(frame, start + head.length);
  tail.copy(frame, start + head.length + body.length);
  return frame;
}

let corked: Duplex[] = [];

/** Writes, together with all else that the socket is sent in this turn of the event loop: the busier it is, the fewer writes. */
export function writeTogether(socket: Duplex, piece: Buffer): void {
  if (socket.writableCorked === 0) {
    socket.cork();
    if (corked.push(socket) === 1) process.nextTick(uncork);
  }
  socket.write(piece);
}

function uncork(): void {
  const sockets = corked;
  corked = [];
  for (const socket of sockets) socket.uncork();
}
