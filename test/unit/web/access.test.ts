import { describe, expect, it } from 'vitest';
import { cookieName, createAccess } from '../../../src/web/access.ts';
import { createManualClock } from '../../support/manual-clock.ts';

const here = '192.0.2.1';
const hour = 3_600_000;

const setUp = () => {
  const clock = createManualClock();
  const access = createAccess({ token: 'swordfish', clock, port: () => 7080 });
  const cookie = (session: string | undefined): string => `theme=dark; ${cookieName(7080)}=${session}`;
  return { clock, access, cookie };
};

describe('access to the page', () => {
  it('is given by the token as a bearer, and by nothing like it', () => {
    const { access } = setUp();
    expect(access.hasToken('Bearer swordfish')).toBe(true);
    expect(access.hasToken('bearer  swordfish')).toBe(true);
    for (const header of [
      undefined,
      '',
      'Bearer',
      'Bearer ',
      'Bearer swordfis',
      'Bearer swordfish2',
      'Bearer Swordfish',
      'Basic swordfish',
      'swordfish',
      'Bearer swordfish, Bearer x',
      'Bearer x swordfish',
    ])
      expect(access.hasToken(header), header).toBe(false);
  });

  it('is given by a link once, and within an hour', () => {
    const { clock, access } = setUp();
    const link = access.newLink();
    expect(access.logIn(link.slice(1), here)).toBeUndefined();
    expect(access.logIn(link, here)).toMatch(/^[\w-]{43}$/);
    expect(access.logIn(link, here)).toBeUndefined();
    const late = access.newLink();
    clock.advance(hour);
    expect(access.logIn(late, here)).toBeUndefined();
  });

  it('is given by a session to the address that opened it, for a day', () => {
    const { clock, access, cookie } = setUp();
    const session = access.logIn(access.newLink(), here);
    expect(access.session(cookie(session), here)).toMatchObject({ endsAt: 24 * hour, identity: undefined });
    expect(access.session(cookie(session), '192.0.2.2')).toBeUndefined();
    for (const cookies of [undefined, '', cookie('x'), cookie(''), `${cookieName(7081)}=${session}`, `x${cookieName(7080)}=${session}`])
      expect(access.session(cookies, here), cookies).toBeUndefined();
    clock.advance(24 * hour);
    expect(access.session(cookie(session), here)).toBeUndefined();
  });

  it('gives a user of the API eight hours, and another form secret to each session', () => {
    const { clock, access, cookie } = setUp();
    const mara = { name: 'mara', credentials: { token: 'tuna' } };
    const [first, second] = [access.openSession(mara, here), access.logIn(access.newLink(mara), here)];
    expect(access.session(cookie(first), here)).toMatchObject({ endsAt: 8 * hour, identity: { name: 'mara' } });
    const secrets = [first, second].map((id) => access.session(cookie(id), here)?.formToken);
    expect(new Set(secrets).size).toBe(2);
    access.logOut(cookie(first));
    expect(access.session(cookie(first), here)).toBeUndefined();
    clock.advance(8 * hour);
    expect(access.session(cookie(second), here)).toBeUndefined();
  });

  it('lets a user who logs in again and again end nobody else', () => {
    const { access, cookie } = setUp();
    const admin = access.openSession({ name: 'admin', credentials: {} }, here);
    const own = Array.from({ length: 300 }, () => access.openSession({ name: 'pod', credentials: { token: 'x' } }, here));
    expect(access.session(cookie(admin), here)?.identity?.name).toBe('admin');
    expect(own.filter((id) => access.session(cookie(id), here) !== undefined)).toEqual(own.slice(-16));
  });

  it('tells the token of the owner from that of the page', () => {
    const access = createAccess({ token: 'swordfish', ownerToken: 'shark', clock: createManualClock(), port: () => 7080 });
    expect([access.hasOwnerToken('Bearer shark'), access.hasOwnerToken('Bearer swordfish'), access.hasToken('Bearer shark')]).toEqual([
      true,
      false,
      false,
    ]);
    const none = createAccess({ clock: createManualClock(), port: () => 7080 });
    for (const header of [undefined, '', 'Bearer ', 'Bearer undefined'])
      expect(none.hasToken(header) || none.hasOwnerToken(header)).toBe(false);
  });

  it('keeps the newest 64 links and 256 sessions', () => {
    const { access, cookie } = setUp();
    const links = Array.from({ length: 65 }, () => access.newLink());
    expect(access.logIn(links[0] ?? '', here)).toBeUndefined();
    expect(access.logIn(links[1] ?? '', here)).toBeDefined();
    const sessions = Array.from({ length: 257 }, () => access.logIn(access.newLink(), here));
    expect(access.session(cookie(sessions[0]), here)).toBeUndefined();
    expect(access.session(cookie(sessions[1]), here)).toBeDefined();
  });

  it('counts failures of an address for a minute, and of 1,024 addresses', () => {
    const { clock, access } = setUp();
    const outcomes = Array.from({ length: 21 }, () => access.failed(here));
    expect(outcomes.indexOf(true)).toBe(20);
    expect(access.failed('192.0.2.2')).toBe(false);
    clock.advance(60_000);
    expect(access.failed(here)).toBe(false);
  });
});
