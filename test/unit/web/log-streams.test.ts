import type { ServerResponse } from 'node:http';
import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { createLog } from '../../../src/base/log.ts';
import { forbidden } from '../../../src/machinery/status-error.ts';
import type { Identity } from '../../../src/web/access.ts';
import { createLogStreams } from '../../../src/web/log-streams.ts';
import type { LogRequest, UserApi } from '../../../src/web/user-api.ts';
import { createManualClock } from '../../support/manual-clock.ts';

interface Followed extends LogRequest {
  readonly identity: Identity;
  write(text: string): void;
  end(err?: Error): void;
}

function setUp() {
  const clock = createManualClock();
  const followed: Followed[] = [];
  const userApi = {
    followLog: (identity, log, onText) =>
      new Promise<void>((resolve, reject) => {
        followed.push({ ...log, identity, write: onText, end: (err) => (err === undefined ? resolve() : reject(err)) });
      }),
  } as Pick<UserApi, 'followLog'> as UserApi;
  const streams = createLogStreams({
    userApi,
    clock,
    log: createLog({ level: 'silent' }),
    redact: (text) => text.replaceAll('open-sesame', '***'),
  });
  const follow = (name = 'mara', endsAt = 3_600_000) => {
    const response = Object.assign(new PassThrough(), { writeHead: () => response }) as unknown as ServerResponse & PassThrough;
    streams.follow({
      identity: { name, credentials: {} },
      log: { pod: { namespace: 'web', name: 'shop' }, container: 'main', previous: false, tailLines: 10 },
      response,
      endsAt,
    });
    return response;
  };
  const sent = (response: PassThrough): { readonly lines: readonly string[]; readonly skipped: number }[] =>
    [...String(response.read() ?? '').matchAll(/event: lines\ndata: (.*)\n/g)].map(([, data = '']) => JSON.parse(data));
  return { clock, followed, streams, follow, sent };
}

describe('a log that is followed', () => {
  it('comes in whole lines a few times a second, without values of Secrets that come in two parts', () => {
    const { clock, followed, follow, sent } = setUp();
    const response = follow();
    followed[0]?.write('one\nthe word is open-');
    followed[0]?.write('sesame\n\u001b[31mred\u001b[0m\nthr');
    expect(sent(response)).toEqual([]);
    clock.advance(200);
    expect(sent(response)).toEqual([{ lines: ['one', 'the word is ***', 'red'], skipped: 0 }]);
  });

  it('loses its oldest lines when the container is faster than the page, and says how many', () => {
    const { clock, followed, follow, sent } = setUp();
    const response = follow();
    for (let index = 0; index < 50_000; index += 1) followed[0]?.write(`${index}\n`);
    clock.advance(200);
    const [message] = sent(response);
    expect([message?.lines.length, message?.lines.at(-1), message?.skipped]).toEqual([1_000, '49999', 49_000]);
  });

  it('ends with the container, with its last line, and says why when the API refuses', async () => {
    const { followed, follow } = setUp();
    const [ended, refused] = [follow(), follow()];
    followed[0]?.write('no end of line');
    followed[0]?.end();
    followed[1]?.end(forbidden({ group: '', resource: 'pods' }, 'shop', 'mara may not open-sesame'));
    const textOf = async (response: PassThrough): Promise<string> => {
      let text = '';
      for await (const chunk of response) text += String(chunk);
      return text;
    };
    expect(await textOf(ended)).toMatch(/"no end of line"[\s\S]*event: end/);
    const text = await textOf(refused);
    expect(text).toMatch(/event: end\ndata: .*The API refuses: /);
    expect(text).not.toContain('open-sesame');
  });

  it('ends with the session, and stops the request to the API', () => {
    const { clock, followed, follow } = setUp();
    const response = follow('mara', 1_000);
    clock.advance(999);
    expect(response.writableEnded).toBe(false);
    clock.advance(1);
    expect(response.writableEnded).toBe(true);
    response.emit('close');
    expect(followed[0]?.signal.aborted).toBe(true);
  });

  it('is not begun for a viewer who has left already', () => {
    const { followed, streams } = setUp();
    const response = new PassThrough() as unknown as ServerResponse & PassThrough;
    response.destroy();
    const log = { pod: { namespace: 'web', name: 'shop' }, container: 'main', previous: false, tailLines: 10 };
    streams.follow({ identity: { name: 'mara', credentials: {} }, log, response, endsAt: 1_000 });
    expect(followed).toEqual([]);
  });

  it('is one of eight for each user, and of 32 for all', () => {
    const { follow } = setUp();
    const first = Array.from({ length: 8 }, () => follow('mara'));
    expect(() => follow('mara')).toThrow('Too many');
    for (const name of ['a', 'b', 'c']) for (let index = 0; index < 8; index += 1) follow(name);
    expect(() => follow('d')).toThrow('Too many');
    first[0]?.emit('close');
    follow('d');
  });
});
