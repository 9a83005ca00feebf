// Several files (a DICOM folder) as one zip without compression, under numbers for names.

const TABLE = new Uint32Array(256).map((_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

export function crc32(bytes) {
  let value = ~0;
  for (let i = 0; i < bytes.length; i++) value = TABLE[(value ^ bytes[i]) & 255] ^ (value >>> 8);
  return ~value >>> 0;
}

// Numbers of 2 and 4 bytes, little-endian, as the zip format has them.
function fields(...pairs) {
  const view = new DataView(new ArrayBuffer(pairs.reduce((sum, [size]) => sum + size, 0)));
  let at = 0;
  for (const [size, value] of pairs) {
    if (size === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    at += size;
  }
  return new Uint8Array(view.buffer);
}

export async function zip(files) {
  const parts = [];
  const directory = [];
  let offset = 0;
  for (const [index, file] of files.entries()) {
    const name = new TextEncoder().encode(String(index).padStart(6, "0"));
    const check = crc32(new Uint8Array(await file.arrayBuffer()));
    // version, flags, method, time, date (1980-01-01), checksum, two sizes, two lengths
    const common = [[2, 20], [2, 0], [2, 0], [2, 0], [2, 33], [4, check], [4, file.size],
      [4, file.size], [2, name.length], [2, 0]];
    const head = fields([4, 0x04034b50], ...common);
    parts.push(head, name, file);
    // comment length, disk, inner and outer attributes, place of the file
    directory.push(fields([4, 0x02014b50], [2, 20], ...common, [2, 0], [2, 0], [2, 0], [4, 0],
      [4, offset]), name);
    offset += head.length + name.length + file.size;
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0);
  const end = fields([4, 0x06054b50], [2, 0], [2, 0], [2, files.length], [2, files.length],
    [4, size], [4, offset], [2, 0]);
  if (files.length > 65535 || offset + size > 0xffffffff) {
    throw new Error("the folder is too large for the page; use `textseg3d predict`");
  }
  return new Blob([...parts, ...directory, end]);
}

// Every file of what was dropped, folders included.
export async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files];
  const found = [];
  const visit = async (entry) => {
    if (entry.isFile) {
      found.push(await new Promise((resolve, reject) => entry.file(resolve, reject)));
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!some.length) return;
      for (const child of some) await visit(child);
    }
  };
  for (const entry of entries) await visit(entry);
  return found;
}
