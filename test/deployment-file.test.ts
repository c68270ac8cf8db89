import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, mkdir, mkdtemp, readdir, readFile, readlink, realpath, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import schema from '../deployment.schema.json' with { type: 'json' };
import { copySample, loadDeploymentFile, resolveDeploymentFile } from '../src/deployment-file.ts';
import { ConfigError } from '../src/domain/errors.ts';
import { CONTENT_GROUPS, DEPLOYMENT_KINDS, HA_ROLES, HOST_COMPONENTS, HOST_STATUSES } from '../src/domain/vocabulary.ts';

let folder: string;
beforeEach(async () => { folder = await realpath(await mkdtemp(join(tmpdir(), 'deployment-'))); });
afterEach(() => rm(folder, { recursive: true, force: true }));

async function load(content: string | Buffer) {
  const path = join(folder, 'deployment.yaml');
  await writeFile(path, content);
  return loadDeploymentFile(path);
}

async function errorOf(content: string | Buffer): Promise<ConfigError> {
  const reason: unknown = await load(content).then(() => undefined, (error: unknown) => error);
  if (reason instanceof ConfigError) return reason;
  throw reason ?? new Error('the file was accepted');
}

/** The faults without the folder's name. */
const faultsOf = async (content: string | Buffer): Promise<string[]> =>
  (await errorOf(content)).faults.map((fault) => fault.replaceAll(`${folder}/`, ''));

const HEAD = 'deployment: { name: local, product: acme-siem, appliance: "3199", version: 7.5.0 }\n';
const STORES = 'stores: [{ name: default, type: DIRECTORY, path: ./backups }]\n';
const CONSOLE = 'hosts:\n  - { id: 1, hostname: console, console: true }\n';
/** Line 4 is the console, what follows begins on line 5. */
const VALID = HEAD + STORES + CONSOLE;

describe('a deployment file', () => {
  test('becomes a spec with defaults filled in and paths from its folder', async () => {
    expect(await load(`${VALID}  - { id: 2, hostname: ep1, components: [EVENT_PROCESSOR], version: 7.4.0, data: [{ directory: a/../ariel, staging: /s }, { file: /f }] }\n`)).toEqual({
      name: 'local', kind: 'NATIVE', product: 'acme-siem', appliance: '3199', version: '7.5.0', buildVersion: null,
      stores: [{ name: 'default', type: 'DIRECTORY', path: join(folder, 'backups'), default: true, requiresPasscode: false }],
      hosts: [
        { id: 1, hostname: 'console', address: null, console: true, status: 'ACTIVE', components: [], version: '7.5.0', haRole: 'NONE', content: {}, data: [] },
        {
          id: 2, hostname: 'ep1', address: null, console: false, status: 'ACTIVE', components: ['EVENT_PROCESSOR'], version: '7.4.0', haRole: 'NONE', content: {},
          data: [{ type: 'DIRECTORY', path: join(folder, 'ariel'), staging: '/s' }, { type: 'FILE', path: '/f', staging: null }],
        },
      ],
      backupConfiguration: { retentionDays: 7, dataBackupHosts: [] },
    });
  });

  test('may use anchors and aliases, a byte order mark and CRLF', async () => {
    const spec = await load(`\uFEFF${VALID.replace('7.5.0', '&v 7.5.0')}  - { id: 2, hostname: ep1, version: *v }\n`.replaceAll('\n', '\r\n'));
    expect(spec.hosts[1]?.version).toBe('7.5.0');
  });

  test('may use an alias many times', async () => {
    const hosts = Array.from({ length: 300 }, (_, index) => `  - { id: ${index + 2}, hostname: h${index}, version: *v }\n`).join('');
    expect((await load(VALID.replace('7.5.0', '&v 7.5.0') + hosts)).hosts).toHaveLength(301);
  });

  test('is refused with all its faults, each with file, line and column, in the order of the file', async () => {
    const error = await errorOf(`${HEAD.replace('7.5.0', '7.5')}${STORES}${CONSOLE}  - id: 2\n    hostnam: ep1\n    status: ACTVE\n  - { id: 1, hostname: x }\n`);
    const file = join(folder, 'deployment.yaml');
    expect(error.message).toBe([
      `${file} cannot be used: 4 faults`,
      `  ${file}:1:76  deployment.version is the number 7.5, it must be a text; put it in quotes: "7.5"`,
      `  ${file}:6:5  hosts[1].hostnam is not known here; did you mean hostname?`,
      `  ${file}:7:13  hosts[1].status is "ACTVE"; allowed: ACTIVE, NEW, ADDING, DELETING, DELETED, ADD_FAILED; did you mean ACTIVE?`,
      `  ${file}:8:11  hosts[2].id: hosts[0] has the same; each needs its own`,
    ].join('\n'));
    expect(error.hint).not.toBe('');
  });

  const EP = '  - id: 2\n    hostname: ep1\n    components: [EVENT_PROCESSOR]\n    data:\n';

  test.each<[what: string, content: string, fault: string]>([
    // not YAML
    ['is empty', '# nothing\n', '1:1  the file is empty; it needs deployment, stores and hosts'],
    ['is a list', '- a\n', '1:1  the file is a list; it must be a mapping (key: value)'],
    ['has a tab for an indent', 'deployment:\n\tname: x\n', '2:1  a tab; YAML is indented with spaces alone'],
    ['has an open bracket', 'stores: [\n', '2:1  not valid YAML: Flow sequence in block collection must be sufficiently indented and end with a ]'],
    ['has a key twice', `${VALID}stores: []\n`, '5:1  the key stores is here twice; remove one'],
    ['has two documents', `${VALID}---\na: 1\n`, '5:1  a second document begins here; a deployment file holds one'],
    ['has an unknown tag', `${VALID}backupConfiguration: !mine {}\n`, '5:22  not valid YAML: Unresolved tag: !mine'],
    ['has an alias to nothing', `${VALID}  - *gone\n`, '5:5  *gone stands for nothing; its anchor &gone must come before it'],
    ['has a merge key', `${VALID}  - { <<: {}, id: 2, hostname: x }\n`, '5:7  hosts[1].<< is not known here; merge keys are not read, write the values out'],
    // form
    ['lacks a part', HEAD + CONSOLE, '1:1  stores is missing'],
    ['has an empty part', `${HEAD}stores:\n${CONSOLE}`, '2:8  stores is empty; it must be a list'],
    ['has an empty list', `${HEAD}stores: []\n${CONSOLE}`, '2:9  stores is an empty list; at least one entry is needed'],
    ['has a key like nothing known', `${VALID}colour: red\n`, '5:1  colour is not known here; allowed: deployment, stores, hosts, backupConfiguration'],
    ['has a list key misspelt', `${HEAD}${STORES}host: [{ id: 1, hostname: c, console: true }]\n`, '3:1  host is not known here; did you mean hosts?'],
    ['has a number for an appliance', VALID.replace('"3199"', '3199'), '1:59  deployment.appliance is the number 3199, it must be a text; put it in quotes: "3199"'],
    ['has a number for a version, as spelt', VALID.replace('7.5.0', '7.10'), '1:76  deployment.version is the number 7.10, it must be a text; put it in quotes: "7.10"'],
    ['has an id in quotes', `${VALID}  - { id: "2", hostname: x }\n`, '5:11  hosts[1].id is "2"; it must be a whole number'],
    ['has an id that is not positive', `${VALID}  - { id: 0, hostname: x }\n`, '5:11  hosts[1].id is 0; allowed: a whole number from 1 to 2147483647'],
    ['has a host name with blanks', `${VALID}  - { id: 2, hostname: my host }\n`, '5:24  hosts[1].hostname is "my host"; allowed: letters, digits, `.`, `-` and `_`, beginning with a letter or digit'],
    ['has a host without a name', `${VALID}  - id: 2\n`, '5:5  hosts[1].hostname is missing'],
    ['has an unknown component', `${VALID}  - { id: 2, hostname: x, components: [QFLO] }\n`, '5:40  hosts[1].components[0] is "QFLO"; allowed: QFLOW, EVENT_COLLECTOR, EVENT_PROCESSOR, DATA_NODE; did you mean QFLOW?'],
    ['has a component twice', `${VALID}  - { id: 2, hostname: x, components: [QFLOW, QFLOW] }\n`, '5:47  hosts[1].components[1] is in the list already; remove it'],
    ['has an unknown content group', VALID.replace('console: true', 'console: true, content: { USER_CONFIG: [{ file: a }] }'), '4:59  hosts[0].content.USER_CONFIG is not known here; did you mean USERS_CONFIG?'],
    ['has a retention of nothing', `${VALID}backupConfiguration: { retentionDays: 0 }\n`, '5:39  backupConfiguration.retentionDays is 0; allowed: a whole number from 1 to 36500'],
    ['has half a day of retention', `${VALID}backupConfiguration: { retentionDays: 1.5 }\n`, '5:39  backupConfiguration.retentionDays is 1.5; it must be a whole number'],
    ['has a home directory for a path', VALID.replace('./backups', '~/b'), '2:50  stores[0].path is "~/b"; allowed: a path, absolute or from the folder of this file; ~ is not expanded'],
    ['has a source that is a text', `${VALID}${EP}      - ./ariel\n`, '9:9  hosts[1].data[0] is "./ariel"; it must be a mapping (key: value)'],
    ['has a source of nothing', `${VALID}${EP}      - staging: ./s\n`, '9:9  hosts[1].data[0] has none of directory, file and postgres; it must have one of them'],
    ['has a source of both kinds', `${VALID}${EP}      - { file: a, directory: b }\n`, '9:9  hosts[1].data[0] has both directory and file; it must have one of them'],
    ['has a source misspelt', `${VALID}${EP}      - { directry: a }\n`, '9:11  hosts[1].data[0].directry is not known here; did you mean directory?'],
    // agreement
    ['has no console', `${HEAD}${STORES}hosts: [{ id: 1, hostname: a }]\n`, '3:1  none of the hosts is the console; set console: true on one of them'],
    ['has two consoles', `${VALID}  - { id: 2, hostname: b, console: true }\n`, '5:27  hosts[1].console: hosts[0] is the console already; there can be only one'],
    ['has a host id twice', `${VALID}  - { id: 1, hostname: b }\n`, '5:11  hosts[1].id: hosts[0] has the same; each needs its own'],
    ['has a host name twice', `${VALID}  - { id: 2, hostname: Console }\n`, '5:24  hosts[1].hostname: hosts[0] has the same; each needs its own'],
    ['has a store name twice', VALID.replace(' }]', ', default: true }, { name: default, type: DIRECTORY, path: b }]'), '2:86  stores[1].name: stores[0] has the same; each needs its own'],
    ['has no default store', VALID.replace(' }]', ' }, { name: b, type: DIRECTORY, path: b }]'), '2:1  none of the stores is the default store; set default: true on one of them'],
    ['has two default stores', VALID.replace(' }]', ', default: true }, { name: b, type: DIRECTORY, path: b, default: true }]'), '2:115  stores[1].default: stores[0] is the default store already; there can be only one'],
    ['has content elsewhere than on the console', `${VALID}  - { id: 2, hostname: b, content: {} }\n`, '5:27  hosts[1].content: only the console makes CONFIG backups; remove it, or set console: true'],
    ['has data where no ariel data is', `${VALID}  - { id: 2, hostname: b, data: [{ file: a }] }\n`, '5:27  hosts[1].data: the host stores no ariel data; remove it, or add EVENT_PROCESSOR or DATA_NODE to its components'],
    ['names a data host that is not there', `${VALID}backupConfiguration: { dataBackupHosts: [9] }\n`, '5:42  backupConfiguration.dataBackupHosts[0]: there is no host 9 that stores ariel data; none of the hosts does'],
    ['names a data host without ariel data', `${VALID}${EP}      - file: a\nbackupConfiguration: { dataBackupHosts: [2, 1] }\n`, '10:45  backupConfiguration.dataBackupHosts[1]: host 1 (console) stores no ariel data; allowed: 2'],
    // overlaps
    ['has a source in a store', `${VALID}${EP}      - directory: backups/x\n`, '9:20  hosts[1].data[0].directory lies inside stores[0].path (backups); a backup would contain itself, keep stores and sources apart'],
    ['has a store in a source', `${VALID}${EP}      - directory: .\n`, '2:50  stores[0].path lies inside hosts[1].data[0].directory (.); a backup would contain itself, keep stores and sources apart'],
    ['has a source that is a store', `${VALID}${EP}      - directory: x/../backups/\n`, '9:20  hosts[1].data[0].directory is the same place as stores[0].path (backups); a backup would contain itself, keep stores and sources apart'],
    ['has a target twice', `${VALID}${EP}      - directory: a\n      - file: a\n`, '10:15  hosts[1].data[1].file is the same place as hosts[1].data[0].directory (a); no file may belong to two sources'],
    ['has a target in a target', `${VALID}${EP}      - file: a/b/c\n      - directory: a\n`, '9:15  hosts[1].data[0].file lies inside hosts[1].data[1].directory (a); no file may belong to two sources'],
    ['has a target twice by an alias', `${VALID}${EP}      - &a { directory: a }\n      - *a\n`, '10:9  hosts[1].data[1].directory is the same place as hosts[1].data[0].directory (a); no file may belong to two sources'],
    ['has a store in a store', VALID.replace(' }]', ', default: true }, { name: b, type: DIRECTORY, path: backups/b }]'), '2:112  stores[1].path lies inside stores[0].path (backups); each store needs a directory of its own'],
    ['has a staging directory in a store', `${VALID}${EP}      - { directory: a, staging: backups/s }\n`, '9:34  hosts[1].data[0].staging lies inside stores[0].path (backups); choose a directory outside of all stores and sources'],
  ])('that %s is refused at the place', async (_, content, fault) => {
    const expected = fault.replace('(.)', `(${folder})`);
    expect(await faultsOf(content)).toEqual([`deployment.yaml:${expected}`]);
  });

  test('may have siblings whose names begin alike, and staging inside its own target', async () => {
    const spec = await load(`${VALID}${EP}      - { directory: backups2, staging: backups2/.staging }\n      - directory: backups2-more\n`);
    expect(spec.hosts[1]?.data).toHaveLength(2);
  });

  test('may have the same path on two hosts, where it is two places', async () => {
    const spec = await load(`${VALID}${EP}      - directory: ariel\n  - { id: 3, hostname: ep2, components: [EVENT_PROCESSOR], data: [{ directory: ariel }] }\n`);
    expect(spec.hosts.map(({ data }) => data.length)).toEqual([0, 1, 1]);
  });

  test('is refused where a link hides that a source lies inside a store', async () => {
    await mkdir(join(folder, 'backups'));
    await symlink(join(folder, 'backups'), join(folder, 'innocent'));
    expect(await faultsOf(`${VALID}${EP}      - directory: innocent/new\n`)).toEqual([expect.stringMatching(/^deployment.yaml:9:20 .* lies inside stores\[0\]/)]);
  });

  test('is refused where it is not UTF-8, with the place', async () => {
    expect(await faultsOf(Buffer.concat([Buffer.from('a: é1\nb: x'), Buffer.from([0xe9, 0x0a])]))).toEqual(['deployment.yaml:2:5  this is not UTF-8; save the file as UTF-8']);
  });

  test('is refused over 1 MiB', async () => {
    const filled = VALID + '#'.repeat(1024 * 1024 - VALID.length);
    await expect(load(filled)).resolves.toBeDefined();
    expect((await errorOf(`${filled}#`)).message).toContain('larger than 1 MiB');
  });

  test('is refused, and quickly, where its aliases expand without bound', async () => {
    const bomb = Array.from({ length: 9 }, (_, index) => `x${index}: &x${index} [${Array.from({ length: 9 }, () => (index === 0 ? 'lol' : `*x${index - 1}`)).join(', ')}]`);
    expect(await faultsOf(`${bomb.join('\n')}\n`)).toEqual([expect.stringMatching(/^deployment.yaml:2:10 .*aliases/)]);
  });

  test('is refused where it is nested without bound or contains itself', async () => {
    expect(await faultsOf(`hosts: ${'['.repeat(100_000)}`)).toEqual(['deployment.yaml:1:801  the file is nested too deeply']);
    expect((await faultsOf('hosts: &h\n  - *h\n')).length).toBeGreaterThan(0);
  });

  test('that is faulty throughout is told a hundred times and no more', async () => {
    const error = await errorOf(`${HEAD}${STORES}hosts:\n${'  - 1\n'.repeat(5000)}`);
    expect(error.faults).toHaveLength(101);
    expect(error.faults.at(-1)).toBe('… and 4900 more');
  });

  test('that cannot be read is told with what to do', async () => {
    for (const [path, what] of [[join(folder, 'gone.yaml'), 'is not there'], [folder, 'is a directory']] as const) {
      await expect(loadDeploymentFile(path)).rejects.toMatchObject({ message: expect.stringContaining(what), hint: expect.stringContaining('DEPLOYMENT_FILE') });
    }
  });

  test('is described by a schema with the words of the domain', () => {
    const { host, content } = schema.$defs;
    expect(Object.keys(content.properties)).toEqual(CONTENT_GROUPS);
    expect(host.properties.status.enum).toEqual(HOST_STATUSES);
    expect(host.properties.components.items.enum).toEqual(HOST_COMPONENTS);
    expect(host.properties.haRole.enum).toEqual(HA_ROLES);
    expect(schema.properties.deployment.properties.kind.enum).toEqual(DEPLOYMENT_KINDS);
  });

  test('is described by a schema that is one: no start looks at that again', () => {
    const ajv = new Ajv2020({ strictTuples: false });
    expect(ajv.validateSchema(schema), ajv.errorsText()).toBe(true);
    expect(ajv.validateSchema({ ...schema, type: 'object, or so' })).toBe(false);
    expect(() => ajv.compile(schema)).not.toThrow();
  });
});

describe('the file to use', () => {
  test('is the configured one, else that of the working directory, else the sample', async () => {
    const dataDir = join(folder, 'data');
    const cwd = join(folder, 'cwd');
    await mkdir(cwd);
    expect(await resolveDeploymentFile({ deploymentFile: '/x.yaml', dataDir }, cwd)).toBe('/x.yaml');
    expect(await resolveDeploymentFile({ deploymentFile: null, dataDir }, cwd)).toBe(join(dataDir, 'deployment.yaml'));
    await writeFile(join(cwd, 'deployment.yaml'), VALID);
    expect(await resolveDeploymentFile({ deploymentFile: null, dataDir }, cwd)).toBe(join(cwd, 'deployment.yaml'));
  });
});

describe('the sample site', () => {
  const SAMPLE_MODULE = new URL('../src/deployment-file.ts', import.meta.url).href;
  const script = `import { copySample } from ${JSON.stringify(SAMPLE_MODULE)}; await copySample(process.argv[1]);`;
  const ALL = ['backups', 'deployment.schema.json', 'deployment.yaml', 'site', 'vault'];

  test('is a valid deployment whose sources are all there', async () => {
    const file = await copySample(folder);
    const spec = await loadDeploymentFile(file);
    expect(spec.hosts.map((host) => [host.id, host.hostname, host.status])).toEqual([[1, 'console', 'ACTIVE'], [2, 'ep1', 'ACTIVE'], [3, 'spare', 'NEW'], [4, 'ec1', 'ACTIVE']]);
    expect(spec.stores.map((store) => [store.name, store.default, store.requiresPasscode])).toEqual([['default', true, false], ['vault', false, true]]);
    expect(Object.keys(spec.hosts[0]?.content ?? {})).toHaveLength(5);
    const sources = spec.hosts.flatMap((host) => [...Object.values(host.content).flat(), ...host.data]);
    for (const place of [...sources, ...spec.stores]) await access(place.path);
    expect(await readdir(folder)).toEqual(ALL);
    expect(await readFile(file, 'utf8')).toMatch(/^# yaml-language-server: \$schema=\.\/deployment\.schema\.json\n/);
  });

  test('keeps a link, an executable file and an empty directory, and has megabytes of events', async () => {
    await copySample(folder);
    expect(await readlink(join(folder, 'site/etc/rules/blocklist.current'))).toBe('reference-sets/blocked-domains.txt');
    expect((await stat(join(folder, 'site/etc/rules/respond.sh'))).mode & 0o111).not.toBe(0);
    expect(await readdir(join(folder, 'site/etc/reports/scheduled'))).toEqual([]);
    const events = await readdir(join(folder, 'site/ariel'), { recursive: true, withFileTypes: true });
    const sizes = await Promise.all(events.filter((entry) => entry.isFile()).map(async (entry) => (await stat(join(entry.parentPath, entry.name))).size));
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBeGreaterThan(2_000_000);
  });

  test('overwrites nothing that is there', async () => {
    await mkdir(join(folder, 'site'));
    await writeFile(join(folder, 'site/mine'), 'mine');
    await copySample(folder);
    expect(await readdir(join(folder, 'site'))).toEqual(['mine']);
    await writeFile(join(folder, 'deployment.yaml'), 'mine');
    await rm(join(folder, 'backups'), { recursive: true });
    await copySample(folder);
    expect(await readFile(join(folder, 'deployment.yaml'), 'utf8')).toBe('mine');
    expect(await readdir(folder)).not.toContain('backups');
  });

  test('is completed by the next start after a kill at any time, and nothing is left over', async () => {
    for (const delay of [60, 90, 110, 130, 150, 180]) {
      const dataDir = join(folder, String(delay));
      const child = spawn(process.execPath, ['--input-type=module', '-e', script, dataDir]);
      setTimeout(() => child.kill('SIGKILL'), delay);
      await once(child, 'exit');
      await loadDeploymentFile(await copySample(dataDir));
      expect(await readdir(dataDir)).toEqual(ALL);
      expect(await readdir(join(dataDir, 'site/ariel/events/records/2026/3/14/10'))).toHaveLength(60);
    }
  });

  test('comes up for processes that start at once', async () => {
    await Promise.all([1, 2, 3].map(() => promisify(execFile)(process.execPath, ['--input-type=module', '-e', script, folder])));
    await copySample(folder);
    expect(await readdir(folder)).toEqual(ALL);
    expect(await readdir(join(folder, 'site/etc'))).toEqual(['assets', 'deployment', 'nva.conf', 'reports', 'rules', 'users']);
  });
});
