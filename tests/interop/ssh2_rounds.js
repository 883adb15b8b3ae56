// SPDX-License-Identifier: MIT
// A login and a command by npm's ssh2 for each set of algorithms told on standard input; what went
// wrong as JSON. Without rounds: what this ssh2 can do.
'use strict';

const crypto = require('crypto');
const fs = require('fs');
const { Client } = require('ssh2');
const constants = require('ssh2/lib/protocol/constants');

const told = JSON.parse(fs.readFileSync(0, 'utf8'));
const KINDS = { kex: 'kex', host_key: 'serverHostKey', cipher: 'cipher', mac: 'hmac' };
const data = crypto.randomBytes(5003);

function once(algorithms) {
  return new Promise((done) => {
    const chosen = {};
    for (const [kind, option] of Object.entries(KINDS)) {
      if (algorithms[kind]) chosen[option] = [algorithms[kind]];
    }
    const client = new Client();
    client.on('error', (error) => done(String(error.message || error)));
    client.on('close', () => done('closed'));
    client.on('ready', () => {
      client.exec('cat', (error, stream) => {
        if (error) return done(String(error));
        const back = [];
        stream.on('data', (block) => back.push(block));
        stream.on('close', () => {
          done(Buffer.concat(back).equals(data) ? '' : 'other bytes came back');
          client.end();
        });
        stream.end(data);
      });
    });
    try {
      client.connect({
        host: told.host,
        port: told.port,
        username: told.user,
        privateKey: fs.readFileSync(told.identity),
        algorithms: chosen,
        readyTimeout: 60000,
        hostVerifier: (key) => told.known_hosts.includes(key.toString('base64')),
      });
    } catch (error) {
      done(String(error.message || error));
    }
  });
}

async function main() {
  if (told.rounds === undefined) {
    return {
      kex: constants.SUPPORTED_KEX,
      host_key: constants.SUPPORTED_SERVER_HOST_KEY,
      cipher: constants.SUPPORTED_CIPHER,
      mac: constants.SUPPORTED_MAC,
    };
  }
  const found = [];
  for (const algorithms of told.rounds) found.push(await once(algorithms));
  return found;
}

main().then((found) => {
  fs.writeSync(1, JSON.stringify(found));
  process.exit(0);
});
