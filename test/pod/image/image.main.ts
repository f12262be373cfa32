/** Builds the image before the tests, and says where it lies: `node test/pod/image/image.main.ts`. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { needed } from '../needed.ts'
import { buildImage } from './build.ts'
import { imageFolder } from './image.ts'
import { imageHash } from './inputs.ts'

const tell = (line: string): void => void process.stderr.write(`image: ${line}\n`)
try {
  const missing = needed()
  if (missing !== undefined) throw new Error(missing)
  mkdirSync(imageFolder(), { recursive: true })
  const folder = join(imageFolder(), imageHash())
  await buildImage(folder, tell)
  process.stdout.write(`${folder}\n`)
} catch (error) {
  tell(error instanceof Error ? error.message : String(error))
  process.exitCode = 1
}
