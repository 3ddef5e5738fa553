import type { VNode } from 'preact';
import { Command, type View, type Viewer } from './parts.tsx';

/** The page by which a user of the API logs in, or out. It has no region: nothing on it changes by itself. */
export function loginView(viewer: Viewer, problem: string): View {
  return {
    title: viewer.isUser ? 'Logged in' : 'Log in',
    regions: [],
    layout: () => (
      <main class="narrow">
        <p class="crumbs">
          <a href="/">Overview</a> / log in
        </p>
        <h1>{viewer.isUser ? `You are ${viewer.name}.` : 'Log in'}</h1>
        {problem === '' ? null : (
          <p class="problem" role="alert">
            {problem}
          </p>
        )}
        {viewer.isUser ? <LogOut viewer={viewer} /> : <LogIn />}
      </main>
    ),
  };
}

function LogOut({ viewer }: { readonly viewer: Viewer }): VNode {
  return (
    <form method="post" action="/logout">
      <input type="hidden" name="form" value={viewer.formToken} />
      <p class="lead">The API decides about each object, log and button by the rights of this user.</p>
      <p class="actions">
        <button type="submit">Log out</button>
      </p>
    </form>
  );
}

function LogIn(): VNode {
  return (
    <>
      <p class="lead">Users of the API read objects and logs here, and act, as far as their rights go.</p>
      <section>
        <h2>As the owner of this cluster</h2>
        <p>Run this beside the data directory, and open the link that it prints. It works once.</p>
        <p class="links">
          <Command text="midship page-url --login" />
        </p>
      </section>
      <section>
        <h2>As another user</h2>
        <p>Paste a bearer token of the API. This one is of a service account:</p>
        <p class="links">
          <Command text="kubectl -n NAMESPACE create token NAME" />
        </p>
        <form method="post" action="/login" class="login">
          <input type="password" name="token" aria-label="Token" placeholder="Token" autocomplete="off" required />
          <button type="submit">Log in</button>
        </form>
      </section>
    </>
  );
}
