// SPDX-License-Identifier: MIT
// One run of a command by npm's ssh2, told by a JSON object as the argument.
// The remote streams are this process's own; what else is known goes to the file `facts` as JSON.
'use strict';

const fs = require('fs');
const { Client } = require('ssh2');

const told = JSON.parse(process.argv[2]);
const facts = {};
const wanted = told.algorithms;
const algorithms = {};
if (wanted.kex) algorithms.kex = [wanted.kex];
if (wanted.host_key) algorithms.serverHostKey = [wanted.host_key];
if (wanted.cipher) algorithms.cipher = [wanted.cipher];
if (wanted.mac) algorithms.hmac = [wanted.mac];
if (wanted.compression) algorithms.compress = [wanted.compression];

function leave(status, error) {
  if (error) {
    facts.error = String(error.message || error);
    fs.writeSync(2, facts.error + '\n');
  }
  fs.writeFileSync(told.facts, JSON.stringify(facts));
  process.exit(status);
}

const client = new Client();
client.on('error', (error) => leave(255, error));
client.on('handshake', (negotiated) => { facts.negotiated = negotiated; });
client.on('keyboard-interactive', (name, text, language, prompts, answer) => {
  answer(prompts.map(() => told.password));
});
client.on('ready', () => {
  const started = (error, stream) => {
    if (error) return leave(255, error);
    let status = 255;
    stream.on('exit', (code, signal) => {
      if (signal) facts.signal = signal.replace(/^SIG/, '');
      if (code !== null && code !== undefined) status = code;
    });
    stream.on('close', () => {
      client.end();
      leave(status);
    });
    // Written at once and by the descriptor: process.exit must not overtake the output.
    stream.on('data', (data) => writeAll(1, data));
    stream.stderr.on('data', (data) => writeAll(2, data));
    process.stdin.pipe(stream);
  };
  const options = { env: told.env || {} };
  if (told.pty) options.pty = { rows: 30, cols: 100, term: 'xterm' };
  if (told.subsystem) client.subsys(told.command, started);
  else client.exec(told.command, options, started);
});

function writeAll(descriptor, data) {
  let at = 0;
  while (at < data.length) {
    try {
      at += fs.writeSync(descriptor, data, at);
    } catch (error) {
      if (error.code !== 'EAGAIN') throw error;
    }
  }
}

const options = {
  host: told.host,
  port: told.port,
  username: told.user,
  algorithms,
  readyTimeout: 60000,
  hostVerifier: (key) => told.known_hosts.includes(key.toString('base64')),
  tryKeyboard: told.methods === 'keyboard-interactive',
};
if (told.methods === 'publickey') options.privateKey = fs.readFileSync(told.identity);
if (told.methods === 'password') options.password = told.password;
client.connect(options);
