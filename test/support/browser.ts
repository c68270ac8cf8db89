import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { chromium } from 'playwright-core';
import type { Browser } from 'playwright-core';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];
const PLACES = [
  ...NAMES.map((name) => join('/usr/bin', name)),
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
  '/Applications/Chromium.app/Contents/MacOS/Chromium',
];

// Without these Chromium calls home in the background, which looks like a page that does.
const FLAGS = [
  '--disable-gpu', '--disable-quic', '--no-first-run', '--no-proxy-server',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
];

/**
 * Why a test that needs a browser cannot run here, with what to install; null when it can. In CI it is always null:
 * there a missing browser fails the test (in `launchBrowser`) and never skips it.
 */
export function browserMissing(): string | null {
  if (process.env.CI || executable() || canInstall()) return null;
  return reason();
}

/** A headless Chromium with an empty profile of its own. Installs Debian's package first where it can and must. */
export async function launchBrowser(): Promise<Browser> {
  if (!executable() && canInstall()) await install();
  const executablePath = executable();
  if (!executablePath) throw new Error(reason());
  // The sandbox needs what root and most containers do not have; only pages of this project are opened.
  return chromium.launch({ executablePath, headless: true, chromiumSandbox: false, args: FLAGS });
}

function executable(): string | undefined {
  const chosen = process.env.CHROME_PATH;
  if (chosen) return existsSync(chosen) ? chosen : undefined;
  const onPath = (process.env.PATH ?? '').split(delimiter).flatMap((folder) => NAMES.map((name) => join(folder, name)));
  return [...PLACES, ...onPath].find((path) => existsSync(path));
}

function reason(): string {
  const chosen = process.env.CHROME_PATH;
  if (chosen) return `CHROME_PATH names ${chosen}, which does not exist.`;
  return 'No Chromium found. Install it (Debian: apt-get install chromium) or set CHROME_PATH to a Chromium or Chrome.';
}

/** On Debian, as root. Ubuntu's package of that name is only a pointer to a snap. */
function canInstall(): boolean {
  if (process.env.CHROME_PATH || process.getuid?.() !== 0 || !existsSync('/usr/bin/apt-get')) return false;
  return /^ID=debian$/m.test(existsSync('/etc/os-release') ? readFileSync('/etc/os-release', 'utf8') : '');
}

async function install(): Promise<void> {
  console.warn("No Chromium found: installing Debian's package for the browser test (apt-get install chromium).");
  const run = promisify(execFile);
  const options = { env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }, maxBuffer: 64 * 1024 * 1024 };
  await run('apt-get', ['update', '-qq'], options);
  await run('apt-get', ['install', '-qq', '-y', '--no-install-recommends', 'chromium'], options);
}
