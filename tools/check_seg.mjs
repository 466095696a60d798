// Voxels of each segment on each slice, as @cornerstonejs/adapters reads a SEG beside its series:
//     node check_seg.mjs FOLDER_OF_NODE_MODULES SEG SERIES_FOLDER
// prints {"segment": {"SOP Instance UID of the slice": voxels}}.
import fs from "node:fs";
import path from "node:path";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [modules, seg, series] = process.argv.slice(2);
const require = createRequire(path.join(modules, "package.json"));
const load = async (name, file) => import(pathToFileURL(path.join(modules, "node_modules", name, file)));
const { adaptersSEG } = await load("@cornerstonejs/adapters", "dist/esm/index.js");
const { metaData } = await load("@cornerstonejs/core", "dist/esm/index.js");
const dcmjs = require("dcmjs");

const buffer = (file) => {
  const bytes = fs.readFileSync(file);
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
};
const slices = new Map();
for (const name of fs.readdirSync(series).sort()) {
  const read = dcmjs.data.DicomMessage.readFile(buffer(path.join(series, name)));
  slices.set(`dicom:${name}`, dcmjs.data.DicomMetaDictionary.naturalizeDataset(read.dict));
}
const get = (kind, id) => {
  const file = slices.get(id);
  if (!file) return undefined;
  const orientation = file.ImageOrientationPatient.map(Number);
  const common = { rows: file.Rows, columns: file.Columns };
  switch (kind) {
    case "instance":
      return file;
    case "generalImageModule":
    case "sopCommonModule":
      return { sopInstanceUID: file.SOPInstanceUID, sopClassUID: file.SOPClassUID };
    case "generalSeriesModule":
      return { seriesInstanceUID: file.SeriesInstanceUID, modality: file.Modality };
    case "imagePixelModule":
      return { ...common, bitsAllocated: 16, bitsStored: 16, highBit: 15, samplesPerPixel: 1, pixelRepresentation: 0,
               photometricInterpretation: "MONOCHROME2" };
    case "imagePlaneModule":
      return { ...common, rowCosines: orientation.slice(0, 3), columnCosines: orientation.slice(3),
               imageOrientationPatient: orientation, imagePositionPatient: file.ImagePositionPatient.map(Number),
               pixelSpacing: file.PixelSpacing.map(Number), rowPixelSpacing: Number(file.PixelSpacing[0]),
               columnPixelSpacing: Number(file.PixelSpacing[1]), sliceThickness: Number(file.SliceThickness),
               frameOfReferenceUID: file.FrameOfReferenceUID };
    default:
      return undefined;
  }
};
metaData.addProvider(get, 1e6);
const found = {};
const segmentation = adaptersSEG.Cornerstone3D.Segmentation;
const { labelMapImages } = await segmentation.createFromDICOMSegBuffer([...slices.keys()], buffer(seg), { metadataProvider: { get } });
for (const map of labelMapImages) {
  for (const image of Array.isArray(map) ? map : [map]) {
    const uid = slices.get(image.referencedImageId).SOPInstanceUID;
    for (const value of image.voxelManager.getScalarData()) {
      if (value === 0) continue;
      found[value] ??= {};
      found[value][uid] = (found[value][uid] ?? 0) + 1;
    }
  }
}
console.log(JSON.stringify(found));
