import { expect, test } from 'vitest'
import { suiteOf } from './base.ts'
import { archiveOf, mirrorArgument } from './machine.ts'

const targets = `https://packages.example.com/apt/ cloud main
http://mirror.example.com/debian/ bookworm main
http://mirror.example.com/debian/ bookworm-updates main
http://mirror.example.com/debian-security/ bookworm-security main`

test('the archive of a suite is found among the sources of apt', () => {
  expect(archiveOf(targets, 'bookworm')).toBe('http://mirror.example.com/debian')
  expect(archiveOf(targets, 'trixie')).toBeUndefined()
})

test.each([
  ['http://mirror.example.com/debian', 'http://mirror.example.com'],
  ['https://example.com/mirrors/debian', 'https://example.com/mirrors'],
  ['http://deb.debian.org/debian', ''],
  ['http://example.com/bookworm', ''],
])('the archive %s is given to the Dockerfile as "%s"', (archive, argument) => {
  expect(mirrorArgument(archive)).toBe(argument)
})

test('only a slim Debian can be made here', () => {
  expect(suiteOf('debian:bookworm-slim')).toBe('bookworm')
  expect(() => suiteOf('alpine:3')).toThrow('the base is alpine:3')
})
