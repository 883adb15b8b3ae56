// SPDX-License-Identifier: MIT
// What npm's ssh2 and ssh2-sftp-client do with files: steps told by a JSON object on standard input,
// what they saw as JSON. Names come as letters of Latin-1, and are UTF-8 to these libraries.
'use strict';

const fs = require('fs');
const path = require('path');
const { Client } = require('ssh2');

const told = JSON.parse(fs.readFileSync(0));
const names = [];
const texts = [];
const decoded = (name) => Buffer.from(name, 'latin1').toString();
const encoded = (name) => Buffer.from(name).toString('latin1');
const near = (name) => path.join(told.here, name);
const far = (name) => path.posix.join(told.there, name);

const account = {
  host: told.host,
  port: told.port,
  username: told.user,
  privateKey: fs.readFileSync(told.identity),
  readyTimeout: 60000,
  hostVerifier: (key) => told.known_hosts.includes(key.toString('base64')),
};

// ssh2's own functions, each with a callback.
function bySsh2(files) {
  const call = (verb, ...words) => new Promise((resolve, reject) => {
    files[verb](...words, (error, found) => (error ? reject(error) : resolve(found)));
  });
  return {
    ls: async (name) => names.push(...(await call('readdir', far(name))).map((one) => one.filename)),
    get: async (there, here, flags) => {
      if (!flags.includes('resume')) return call('fastGet', far(there), near(here));
      const done = fs.statSync(near(here)).size;
      const source = files.createReadStream(far(there), { start: done });
      for await (const data of source) fs.appendFileSync(near(here), data);
      return undefined;
    },
    put: async (here, there, flags) => {
      if (flags.includes('resume')) {
        const { size } = await call('stat', far(there));
        return call('appendFile', far(there), fs.readFileSync(near(here)).subarray(size));
      }
      await call('fastPut', near(here), far(there));
      if (flags.includes('keep')) {
        const status = fs.statSync(near(here));
        await call('utimes', far(there), status.atimeMs / 1000, status.mtimeMs / 1000);
        await call('chmod', far(there), status.mode & 0o7777);
      }
      return undefined;
    },
    rename: (old, fresh) => call('ext_openssh_rename', far(old), far(fresh)),
    symlink: (text, link) => call('symlink', text, far(link)),
    readlink: async (name) => texts.push(await call('readlink', far(name))),
    link: (old, fresh) => call('ext_openssh_hardlink', far(old), far(fresh)),
    copy: async (old, fresh) => {
      const from = await call('open', far(old), 'r');
      const to = await call('open', far(fresh), 'w');
      await call('ext_copy_data', from, 0, 0, to, 0);
      await call('close', from);
      await call('close', to);
    },
    chmod: (mode, name) => call('chmod', far(name), mode),
    mkdir: (name) => call('mkdir', far(name)),
    rmdir: (name) => call('rmdir', far(name)),
    rm: (name) => call('unlink', far(name)),
    room: async () => {
      if (!(await call('ext_openssh_statvfs', told.there)).f_blocks) throw new Error('no room');
    },
  };
}

// ssh2-sftp-client's, each a promise.
function bySftpClient(files) {
  return {
    ls: async (name) => names.push(...(await files.list(far(name))).map((one) => one.name)),
    get: (there, here, flags) => (flags.includes('tree')
      ? files.downloadDir(far(there), near(here)) : files.fastGet(far(there), near(here))),
    put: async (here, there, flags) => {
      if (flags.includes('tree')) return files.uploadDir(near(here), far(there));
      if (!flags.includes('resume')) return files.fastPut(near(here), far(there));
      const { size } = await files.stat(far(there));
      return files.append(fs.readFileSync(near(here)).subarray(size), far(there));
    },
    rename: (old, fresh) => files.posixRename(far(old), far(fresh)),
    chmod: (mode, name) => files.chmod(far(name), mode),
    mkdir: (name) => files.mkdir(far(name)),
    rmdir: (name) => files.rmdir(far(name)),
    rm: (name) => files.delete(far(name)),
  };
}

async function work(verbs) {
  for (const [verb, words, flags] of told.steps) {
    const given = words.map((word) => (typeof word === 'number' ? word : decoded(word)));
    await verbs[verb](...given, flags);
  }
}

function leave(error) {
  if (error) {
    fs.writeSync(2, `${error.stack}\n`);
    process.exit(1);
  }
  fs.writeSync(1, JSON.stringify({ names: names.map(encoded), texts: texts.map(encoded) }));
  process.exit(0);
}

if (told.library === 'ssh2') {
  const client = new Client();
  client.on('error', leave);
  client.on('ready', () => client.sftp((error, files) => {
    if (error) leave(error);
    else work(bySsh2(files)).then(() => leave(), leave);
  }));
  client.connect(account);
} else {
  const SftpClient = require('ssh2-sftp-client');
  const files = new SftpClient();
  files.connect(account).then(() => work(bySftpClient(files))).then(() => leave(), leave);
}
