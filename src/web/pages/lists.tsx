import type { VNode } from 'preact';
import { appPath, type Found, type ObjectRow, objectPath, type Paged } from '../page-model.ts';
import { Glyph, Pager, type View } from './parts.tsx';

/** All objects of all apps, in parts. */
export function objectsView(list: Paged<ObjectRow>, filter: string): View {
  return {
    title: 'Objects',
    regions: [{ id: 'table', content: <ObjectTable list={list} filter={filter} /> }],
    layout: (slot) => (
      <main>
        <p class="crumbs">
          <a href="/">Overview</a> / objects
        </p>
        <div class="head">
          <h1>Objects</h1>
          <Search action="/objects" value={filter} label="Filter objects" />
        </div>
        {slot('table')}
      </main>
    ),
  };
}

function Search({ action, value, label }: { readonly action: string; readonly value: string; readonly label: string }): VNode {
  return (
    <form method="get" action={action}>
      <input id="filter" type="search" name="q" value={value} maxlength={100} placeholder="Filter" aria-label={label} />
    </form>
  );
}

function ObjectTable({ list, filter }: { readonly list: Paged<ObjectRow>; readonly filter: string }): VNode {
  if (list.rows.length === 0) return <p class="empty">No app has such an object.</p>;
  return (
    <>
      <div class="scroll">
        <table class="stacked">
          <thead>
            <tr>
              <th scope="col">State</th>
              <th scope="col">Kind</th>
              <th scope="col">Name</th>
              <th scope="col">Namespace</th>
              <th scope="col">App</th>
            </tr>
          </thead>
          <tbody>
            {list.rows.map(({ app, object }) => {
              const path = appPath(app.namespace, app.name);
              return (
                <tr key={`${app.namespace}/${app.name}/${object.id}`}>
                  <td class="state">
                    <Glyph state={object.state} /> {object.word}
                  </td>
                  <td>{object.kind}</td>
                  <td>
                    <a href={objectPath(path, object.id)}>{object.name}</a>
                  </td>
                  <td>{object.namespace}</td>
                  <td>
                    <a href={path}>{app.name}</a>
                  </td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
      <Pager
        list={list}
        href={(page) => `/objects?${new URLSearchParams({ ...(filter === '' ? {} : { q: filter }), page: String(page) })}`}
      />
    </>
  );
}

/** The hits of a search; the palette of the script shows the same list. */
export function findView(found: readonly Found[], text: string): View {
  return {
    title: 'Find',
    regions: [{ id: 'found', content: <FoundList found={found} /> }],
    layout: (slot) => (
      <main>
        <p class="crumbs">
          <a href="/">Overview</a> / find
        </p>
        <div class="head">
          <h1>Find</h1>
          <Search action="/find" value={text} label="Find pages, apps, nodes and objects" />
        </div>
        {slot('found')}
      </main>
    ),
  };
}

function FoundList({ found }: { readonly found: readonly Found[] }): VNode {
  if (found.length === 0) return <p class="empty">Nothing has that in its name.</p>;
  return (
    <ul class="found">
      {found.map(({ kind, name, detail, href }) => (
        <li key={href}>
          <a href={href}>
            <span class="kind">{kind}</span> <b>{name}</b> <span class="quiet">{detail}</span>
          </a>
        </li>
      ))}
    </ul>
  );
}
