"use strict";
// Serves the blobs of any number of storage accounts from one process: loading Azurite takes a second, a server of it no time.
//
//     node serve.js SOCKET
//
// Orders come over the Unix socket SOCKET, one a connection, a line of JSON each way:
//     {"start": account, "key": base64, "folder": path, "cert": path, "certkey": path}  ->  {"port": number}
//     {"stop": account}                                                               ->  {}
// What went wrong is {"error": text}. Each account has a server, a port of 127.0.0.1 and a folder of its own, as `azurite-blob` has them
// (dist/src/blob/main.js and BlobServerFactory.js of Azurite 3.37.0). It ends with SIGTERM, once everything is written.

const net = require("net");
const path = require("path");

// Azurite loads Application Insights whether or not it may send anything. This is half of its start, and nothing is to be sent.
const insights = require.resolve("applicationinsights", { paths: [require.resolve("azurite/package.json")] });
require.cache[insights] = { id: insights, filename: insights, loaded: true, exports: {} };

const BlobConfiguration = require("azurite/dist/src/blob/BlobConfiguration").default;
const BlobServer = require("azurite/dist/src/blob/BlobServer").default;
const constants = require("azurite/dist/src/blob/utils/constants");
const { AzuriteTelemetryClient } = require("azurite/dist/src/common/Telemetry");
const { configLogger } = require("azurite/dist/src/common/Logger");

const keys = new Map();
const servers = new Map();

async function start({ start: account, key, folder, cert, certkey }) {
  keys.set(account, key);
  tell();
  const place = { ...constants.DEFAULT_BLOB_PERSISTENCE_ARRAY[0], locationPath: path.join(folder, constants.DEFAULT_BLOB_PERSISTENCE_PATH) };
  const server = new BlobServer(
    new BlobConfiguration(
      "127.0.0.1",
      0, // a free port
      constants.DEFAULT_BLOB_KEEP_ALIVE_TIMEOUT,
      path.join(folder, constants.DEFAULT_BLOB_LOKI_DB_PATH),
      path.join(folder, constants.DEFAULT_BLOB_EXTENT_LOKI_DB_PATH),
      [place],
      false, // access log
      undefined,
      false, // debug log
      undefined,
      false, // loose
      true, // any API version
      cert,
      certkey,
      "",
      "basic", // takes bearer tokens
    ),
  );
  await server.start();
  servers.set(account, server);
  return { port: server.httpServer.address().port };
}

async function stop({ stop: account }) {
  const server = servers.get(account);
  servers.delete(account);
  keys.delete(account);
  tell();
  if (server) {
    server.httpServer.closeAllConnections();
    await server.close();
  }
  return {};
}

// Where Azurite looks for accounts, when a server starts and every minute; another account's key opens nothing, for its blobs are elsewhere.
function tell() {
  process.env.AZURITE_ACCOUNTS = [...keys].map((pair) => pair.join(":")).join(";");
}

async function answer(line) {
  try {
    const order = JSON.parse(line);
    return await (order.start ? start(order) : stop(order));
  } catch (error) {
    return { error: String((error && error.message) || error) };
  }
}

function listen(connection) {
  let heard = "";
  connection.on("error", () => {});
  connection.on("data", async (data) => {
    heard += data;
    if (heard.endsWith("\n")) connection.end(JSON.stringify(await answer(heard)) + "\n");
  });
}

async function end() {
  await Promise.allSettled([...servers.keys()].map((account) => stop({ stop: account })));
  process.exit(0);
}

configLogger(false);
AzuriteTelemetryClient.init("", false);
process.once("SIGTERM", end);
net.createServer(listen).listen(process.argv[2]);
