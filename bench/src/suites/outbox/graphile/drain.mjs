// Works off a backlog by graphile-worker, to nowhere, for some seconds at most, and prints how many jobs a second that
// were: `node drain.mjs <url> <jobs> <queues> <seconds>`, without an order where there are no queues.
import { createRequire } from "node:module";

const require = createRequire(`${process.cwd()}/`);
const { makeWorkerUtils, run } = require("graphile-worker");
const { Logger } = require("@graphile/logger");
const { Pool } = require("pg");

const url = process.argv[2];
const [jobs, queues, seconds] = process.argv.slice(3).map(Number);
const quiet = new Logger(() => (level, message) => {
  if (level === "error") console.error(message);
});
const pgPool = new Pool({ connectionString: url, max: 12 });
pgPool.on("error", (error) => console.error(error));
pgPool.on("connect", (client) => client.on("error", (error) => console.error(error)));
const utils = await makeWorkerUtils({ pgPool, logger: quiet });
await utils.migrate();
await pgPool.query(
  `select count(*) from graphile_worker.add_jobs(array(
     select json_populate_record(null::graphile_worker.job_spec, json_build_object(
       'identifier', 'nowhere',
       'payload', json_build_object('text', repeat('x', 400)),
       'queue_name', case when $2 > 0 then 'order ' || n % $2 end,
       'max_attempts', 25))
     from generate_series(1, $1::int) n))`,
  [jobs, queues],
);
await pgPool.query("vacuum analyze graphile_worker._private_jobs");

const started = process.hrtime.bigint();
let done = 0;
let end;
const all = new Promise((resolve) => (end = resolve));
const runner = await run({
  pgPool,
  logger: quiet,
  noHandleSignals: true,
  preset: {
    worker: {
      concurrentJobs: 10,
      pollInterval: 100,
      // What it offers to be fast: jobs are taken, and told to be done, many at a time.
      localQueue: { size: 500 },
      completeJobBatchDelay: 0,
      failJobBatchDelay: 0,
    },
  },
  taskList: {
    nowhere: () => {
      done += 1;
      if (done === jobs) end();
    },
  },
});
setTimeout(end, seconds * 1_000);
await all;
console.log(done / (Number(process.hrtime.bigint() - started) / 1e9));
await runner.stop();
await pgPool.end();
