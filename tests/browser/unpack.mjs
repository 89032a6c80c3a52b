// Unpack the browser, the libraries that a bare Linux lacks, and its one font into node_modules/.chromium. The package does it itself,
// into the folder for temporary files (build/lambdafs.js), so that is this one here. What it was packed in is not needed twice.
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { inflate } from "@sparticuz/chromium";

const modules = join(import.meta.dirname, "node_modules");
const packed = join(modules, "@sparticuz", "chromium", "bin");
const unpacked = join(modules, ".chromium");
const names = { program: "chromium", libraries: "al2023.tar", fonts: "fonts.tar" };

if (process.platform === "linux" && process.arch === "x64") {
  mkdirSync(unpacked);
  process.env.TMPDIR = unpacked;
  await Promise.all(Object.values(names).map((name) => inflate(join(packed, `${name}.br`))));
  // Every machine draws and measures with the same letters; a relative folder is one beside this file (fonts-conf(5)).
  writeFileSync(join(unpacked, "fonts.conf"), '<fontconfig><dir prefix="relative">fonts</dir></fontconfig>\n');
} else {
  console.log(`tests/browser: its Chromium runs on Linux on x86-64, not on ${process.platform} on ${process.arch}; tests use one on PATH`);
}
rmSync(packed, { recursive: true });
