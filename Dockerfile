# One image for every program; the command says which.
FROM node:26.10.0-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
COPY shared/problem/package.json shared/problem/
COPY shared/http/package.json shared/http/
COPY shared/postgres/package.json shared/postgres/
COPY shared/cell/package.json shared/cell/
COPY gateway/package.json gateway/
COPY cells/crm/package.json cells/crm/
RUN npm ci
COPY shared shared
COPY gateway gateway
COPY cells cells
COPY scripts/build.ts scripts/
RUN node scripts/build.ts

FROM node:26.10.0-bookworm-slim
WORKDIR /app
ENV NODE_ENV=production
# A half of V8's young generation, in MB: Node's own limit costs a busy process 100 MB more and saves it no time.
ENV NODE_OPTIONS=--max-semi-space-size=4
# One heap of the C library for all threads: each one's own would keep what it has given back.
ENV MALLOC_ARENA_MAX=1
COPY package.json ./
# The programs are whole but for the script of the reference page, which they read from its package.
COPY --from=build /app/node_modules/@scalar/api-reference node_modules/@scalar/api-reference
COPY --from=build /app/dist dist
RUN mkdir /data compile-cache && chown node:node /data compile-cache
VOLUME /data
USER node
# Node keeps here what it has compiled, by user: a program that starts again does not wait for that.
ENV NODE_COMPILE_CACHE=/app/compile-cache
CMD ["node", "dist/gateway.js"]
