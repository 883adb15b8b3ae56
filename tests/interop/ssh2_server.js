// SPDX-License-Identifier: MIT
// A server of npm's ssh2 that serves this machine's files: told by a JSON object as its argument.
// It has the draft's messages alone, and the draft's order of SYMLINK's paths for all but OpenSSH's clients.
'use strict';

const fs = require('fs');
const path = require('path');
const { Server, utils } = require('ssh2');

const told = JSON.parse(process.argv[2]);
const { STATUS_CODE, OPEN_MODE } = utils.sftp;
const authorized = utils.parseKey(told.authorized);

// What came of it, or its error as one of the protocol's codes.
function status(error) {
  if (!error) return STATUS_CODE.OK;
  if (error.code === 'ENOENT') return STATUS_CODE.NO_SUCH_FILE;
  return error.code === 'EACCES' ? STATUS_CODE.PERMISSION_DENIED : STATUS_CODE.FAILURE;
}

const attributes = (found) => ({
  mode: found.mode,
  uid: found.uid,
  gid: found.gid,
  size: found.size,
  atime: Math.floor(found.atimeMs / 1000),
  mtime: Math.floor(found.mtimeMs / 1000),
});

function change(name, wanted) {
  if (wanted.size !== undefined) fs.truncateSync(name, wanted.size);
  if (wanted.mode !== undefined) fs.chmodSync(name, wanted.mode & 0o7777);
  if (wanted.uid !== undefined) fs.chownSync(name, wanted.uid, wanted.gid);
  if (wanted.mtime !== undefined) fs.utimesSync(name, wanted.atime, wanted.mtime);
}

function opened(name, flags, wanted) {
  let how = flags & OPEN_MODE.WRITE ? fs.constants.O_WRONLY : fs.constants.O_RDONLY;
  if (flags & OPEN_MODE.READ && flags & OPEN_MODE.WRITE) how = fs.constants.O_RDWR;
  if (flags & OPEN_MODE.APPEND) how |= fs.constants.O_APPEND;
  if (flags & OPEN_MODE.CREAT) how |= fs.constants.O_CREAT;
  if (flags & OPEN_MODE.TRUNC) how |= fs.constants.O_TRUNC;
  if (flags & OPEN_MODE.EXCL) how |= fs.constants.O_EXCL;
  return fs.openSync(name, how, wanted.mode === undefined ? 0o666 : wanted.mode & 0o7777);
}

function serve(sftp) {
  const handles = new Map();
  let next = 0;
  const keep = (id, entry) => {
    const handle = Buffer.alloc(4);
    handle.writeUInt32BE(next);
    handles.set(next, entry);
    next += 1;
    sftp.handle(id, handle);
  };
  const of = (handle) => {
    const entry = handle.length === 4 && handles.get(handle.readUInt32BE(0));
    if (!entry) throw new Error('no such handle');
    return entry;
  };
  const answers = {
    OPEN: (id, name, flags, wanted) => {
      keep(id, { name, descriptor: opened(name, flags, wanted), append: flags & OPEN_MODE.APPEND });
    },
    READ: (id, handle, offset, length) => {
      const data = Buffer.alloc(length);
      const read = fs.readSync(of(handle).descriptor, data, 0, length, Number(offset));
      if (read === 0) return sftp.status(id, STATUS_CODE.EOF);
      return sftp.data(id, data.subarray(0, read));
    },
    WRITE: (id, handle, offset, data) => {
      const { descriptor, append } = of(handle);
      for (let at = 0; at < data.length;) {
        at += fs.writeSync(descriptor, data, at, data.length - at,
          append ? null : Number(offset) + at);
      }
      sftp.status(id, STATUS_CODE.OK);
    },
    FSTAT: (id, handle) => sftp.attrs(id, attributes(fs.fstatSync(of(handle).descriptor))),
    FSETSTAT: (id, handle, wanted) => {
      change(of(handle).name, wanted);
      sftp.status(id, STATUS_CODE.OK);
    },
    CLOSE: (id, handle) => {
      const { descriptor } = of(handle);
      if (descriptor !== undefined) fs.closeSync(descriptor);
      handles.delete(handle.readUInt32BE(0));
      sftp.status(id, STATUS_CODE.OK);
    },
    OPENDIR: (id, name) => keep(id, { name, left: fs.readdirSync(name) }),
    READDIR: (id, handle) => {
      const entry = of(handle);
      if (entry.left.length === 0) return sftp.status(id, STATUS_CODE.EOF);
      const some = entry.left.splice(0, 50).map((filename) => {
        const found = fs.lstatSync(path.join(entry.name, filename));
        return { filename, longname: filename, attrs: attributes(found) };
      });
      return sftp.name(id, some);
    },
    LSTAT: (id, name) => sftp.attrs(id, attributes(fs.lstatSync(name))),
    STAT: (id, name) => sftp.attrs(id, attributes(fs.statSync(name))),
    SETSTAT: (id, name, wanted) => {
      change(name, wanted);
      sftp.status(id, STATUS_CODE.OK);
    },
    REMOVE: (id, name) => {
      fs.unlinkSync(name);
      sftp.status(id, STATUS_CODE.OK);
    },
    RMDIR: (id, name) => {
      fs.rmdirSync(name);
      sftp.status(id, STATUS_CODE.OK);
    },
    MKDIR: (id, name, wanted) => {
      fs.mkdirSync(name, wanted.mode === undefined ? 0o777 : wanted.mode & 0o7777);
      sftp.status(id, STATUS_CODE.OK);
    },
    RENAME: (id, old, fresh) => {
      // The draft's RENAME takes nobody's place (section 6.5).
      if (fs.existsSync(fresh)) throw new Error('it is there already');
      fs.renameSync(old, fresh);
      sftp.status(id, STATUS_CODE.OK);
    },
    SYMLINK: (id, link, text) => {
      fs.symlinkSync(text, link);
      sftp.status(id, STATUS_CODE.OK);
    },
    READLINK: (id, name) => {
      const text = fs.readlinkSync(name);
      sftp.name(id, [{ filename: text, longname: text, attrs: {} }]);
    },
    REALPATH: (id, name) => {
      const real = path.resolve(name);
      sftp.name(id, [{ filename: real, longname: real, attrs: {} }]);
    },
  };
  // It leaves its side open otherwise, and most clients wait for the end.
  sftp.on('end', () => sftp.end());
  for (const [request, answer] of Object.entries(answers)) {
    sftp.on(request, (id, ...words) => {
      try {
        answer(id, ...words);
      } catch (error) {
        sftp.status(id, status(error), error.message);
      }
    });
  }
}

const server = new Server({ hostKeys: told.host_keys.map((key) => fs.readFileSync(key)) });
server.on('connection', (client) => {
  client.on('error', () => client.end());
  client.on('authentication', (asked) => {
    const right = asked.username === told.user && asked.method === 'publickey'
      && asked.key.data.equals(authorized.getPublicSSH())
      && (!asked.signature
        || authorized.verify(asked.blob, asked.signature, asked.hashAlgo) === true);
    if (right) asked.accept();
    else asked.reject(['publickey']);
  });
  client.on('ready', () => client.on('session', (accept) => {
    accept().on('sftp', (take) => serve(take()));
  }));
});
server.listen(told.port, '127.0.0.1');
